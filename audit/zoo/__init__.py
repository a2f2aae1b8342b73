"""Small zoos of known accuracy, trained on the spot.

- `tasks`: a task file: images, architectures and a factorial grid; `shipped/` holds those that
  come along.
- `recipes`: one checkpoint's recipe, and what lies beside it.
- `images`: a task's images, brought to one size and kept as arrays.
- `networks`: an architecture that timm does not have small enough.
- `training`: one recipe becomes one checkpoint.
- `train_zoo`: all recipes of a task do.
- `check`: is a trained zoo worth ranking?
- `measuring`: every measure on every checkpoint, against the labels trained on and clean ones.
- `table`: the measured zoo as two files.
- `demo`: the demonstration, the smallest form of a task.
"""
