"""Run: python -m benchmarks.rankers."""

from benchmarks.rankers.table import main

main()
