"""Long attacks on the program: `python -m tests.campaigns.NAME --count N --json`.

The test-suite runs each of them with a small count (`tests/faults/test_campaigns.py`), tox with the
counts of the record, in an environment of the same name each (`tox -e kills`). What they came to is
in `benchmarks/results/faults.md`.

- `kills`: runs that are killed at random instants and begun again
- `io_faults`: every call by which files are written and read fails, once or for ever
- `hostile`, `benign`: weights files of attackers, and those of everybody else
- `damaged`: entries of the store, changed in every region
- `writers`: many processes on few keys of a store, with file locks that do nothing
- `fuzz`: every parser, given mutated files
- `relations`: theorems on births, unit tables and networks, and maps against the reference
- `sweep`: an audit of which every second checkpoint is poisoned
- `mutants`: do the tests notice when the program is changed?

Beside them: `report` (what a campaign came to), `disk` (calls of the system, counted and made to
fail), `small_folder` (a folder to audit, of the smallest size), `changes` (those of `mutants`),
`relation` (what a relation is), `relations_of_maps`, `relations_of_units`, `relations_of_networks`
and `relations_of_statistics` (tables of them), and `maps_with_reference`.
"""
