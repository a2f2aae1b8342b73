"""A checkpoint becomes a network with its weights, and images become activations.

- `weights`: the one trusted door for weights files. `fitting` puts what was read into a network,
  `saving` writes it.
- `layers`: which layers give feature maps, in which layout.
- `forward`: a forward pass that hands the maps over. `scores`: the class scores in its output.
- `threads`: one math thread, so that sums do not depend on the machine.
"""
