"""`python -m audit` is the `genaudit` command."""

from audit.cli import main

main()
