"""A checkpoint becomes a network with its weights, and images become activations.

- `weights`: the one trusted door for weights files. `fitting` puts what was read into a network,
  `saving` writes it, `digests` tells one set of weights from another.
- `plain`: a network without wrappers and compiled parts. `places`: where tensors pass by in a
  forward pass. `layers`: which of them are feature maps; `features`: where features pass by.
- `class_names`: the names of classes that lie inside a checkpoint.
- `forward`: a forward pass that hands the maps over. `scores`: the class scores in its output.
- `running`: its memory format and precision, how many images at a time, and what it means to run
  out of memory.
- `gradients`: the gradients of each image's loss.
- `threads`: one math thread, so that sums do not depend on the machine.
"""
