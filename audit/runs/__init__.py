"""An audit from configuration to report: the only place that wires the stages together.

- `config`: an `audit.toml`, read and checked.
- `training_set`: the sample of a configuration, and what of it is also held out. `checkpoints`:
  which files it names, and what they are called; `globs`: the files that a path of it means.
- `class_orders`: the order of classes that a configuration or a checkpoint says a network has.
- `study`: a configuration resolved, before the first network is loaded.
- `pipeline`: `audit.run`. `reports`: the last stage alone. `measured_tables`: what is finished so
  far. `longest_first`: in which order checkpoints are measured; `engines`: where; `run_limits`: for
  how long; `progress`: how far that is.
- `forecast`: what a run would do; `durations`: how long, in words. `one_network`: a network and a
  sample, opened without a configuration; `unit_table`, `unit_comparison`, `unit_figure`: its units,
  beside another's, looked at; `ablation_table`: what it is without them.
- `reopened`: checkpoints of an output folder, opened again; `folder_units`: their units.
  `kept_examples`: a few units that reports show.
- `layer_table`: the layers of an architecture, and what they cost. `invariance_table`: which
  changes of a network move which measures. `inspection`: what a file is and what it holds.

Not named `run`: the function `audit.run` is public, and importing a folder of that name would put
the module in its place.
"""
