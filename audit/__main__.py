"""`python -m audit` is the `genaudit` command."""

from audit.search_path import leave_current_folder


def main() -> None:
    """Leave the current folder out of Python's path before anything else is imported."""
    leave_current_folder()
    from audit.cli import main as command

    command()


if __name__ == "__main__":
    main()
