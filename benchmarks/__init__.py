"""One file per question; each prints a table, and the same as JSON with --json."""
