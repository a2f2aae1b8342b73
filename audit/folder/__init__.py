"""What lies in an output folder.

- `json_files`: reads JSON, and holds it to a form. `run_form`: the form of `run.json`.
- `record`: `run.json` and the names of the files. `currency`: whether a table is up to date.
- `progress_form`, `unit_examples`: the forms of two more.
- `table_forms`: reads tables, and holds them to a form. `tables`: the measures table.
- `columns`: which measure a column belongs to, and if it is judged.
- `csv_files`: the one reader and writer of CSV. `cells`: files of people as they are written.
- `result`: the tables, read back. `unit_rows`: rows of the unit table.
"""
