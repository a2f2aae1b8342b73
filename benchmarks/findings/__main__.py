"""Run: python -m benchmarks.findings."""

from benchmarks.findings.page import main

main()
