"""Single units: their nulls, their order, what a network is without them, their peers elsewhere.

- `ablation`: a network some of whose units give zero. `pruning`: the same as masks of its weights.
- `importance`: criteria of importance, one number for each unit. `ablation_orders`: the orders in
  which they let units go.
- `masked`: what a network answers under many masks, in few passes. `curves`: accuracy and loss as
  units go, areas, intervals. `verdict`: what these say of feature entropy.
- `cumulative`: all of it on one layer. `ablation_figure`: its curves drawn.
- `standing`: how sure a unit's number is, what chance would give, which unit it repeats.
- `order`: rankings of units, and whether classes agree about them.
- `across`, `comparison`: two networks' units beside each other, the tests and their verdicts.
  `layers`: units as arrays, and which layers stand beside each other; `distributions`,
  `class_order`, `matching`, `shared`: one question each; `responses`: what units answer to images.
- `figure`, `comparison_figure`: pictures of both; `canvas`: the door to matplotlib.
"""
