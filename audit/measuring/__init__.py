"""One checkpoint becomes rows of the measures table.

- `subject`: the checkpoint and its sample as plain data, and the keys of its numbers.
- `passes`: the forward passes that all reducers of all measures share.
- `view`: what measures are given of a network and a sample at hand. `checkpoint`: the same of a
  checkpoint by its files, with what the store remembers.
- `task`: all that is computed of one checkpoint, in whatever process. `machine`: whether that
  process has what it takes, on another machine than the one that planned it.
- `class_order`: which output of a network's head means which class. `doubt`: whether a network
  looks untrained on its own training images, and why that may be.
- `examples`: a few images beside the maps of a unit. `rows`: what is kept, and as rows of tables.
  `unit_spool`: unit tables of many checkpoints, set down until they are written.
"""
