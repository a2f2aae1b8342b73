"""Single units: their nulls, their order, what a network is without them, their peers elsewhere.

- `ablation`: a network some of whose units give zero. `pruning`: the same as masks of its weights.
- `importance`: criteria of importance, one number for each unit. `ablation_orders`: the orders in
  which they let units go.
- `masked`: what a network answers under many masks, in few passes. `curves`: accuracy and loss as
  units go, areas, intervals. `verdict`: what these say of feature entropy.
- `cumulative`: all of it on one layer. `ablation_figure`: its curves drawn.
"""
