"""An audit from configuration to report: the only place that wires the stages together.

- `config`: an `audit.toml`, read and checked.
- `study`: a configuration resolved, before the first network is loaded. `globs`: the files that
  a path of it means.
- `class_orders`: the order of classes that a configuration or a checkpoint says a network has.
- `pipeline`: `audit.run`. `reports`: the last stage alone.
- `forecast`: what a run would do. `unit_table`: one network looked at closely.

Not named `run`: the function `audit.run` is public, and importing a folder of that name would put
the module in its place.
"""
