"""One checkpoint becomes rows of the measures table.

- `subject`: the checkpoint and its sample as plain data, and the keys of its numbers.
- `view`: what measures are given of it. `recorder`: what is kept of the maps.
- `task`: all that is computed of one checkpoint, in whatever process.
- `rows`, `unit_tables`: what the store holds of it, as tables.
"""
