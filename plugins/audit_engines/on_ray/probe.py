"""Ask an address whether a Ray cluster is there: `python -P probe.py ADDRESS` prints a JSON object.

A program of its own, since joining an address that does not answer cannot be cut short: Ray tries
for two minutes and then ends the process. It imports nothing of genaudit.
"""

from __future__ import annotations

import json
import sys


def main(address: str) -> None:
    """Join, leave, and print what went wrong: the exception's type and text, or "" for both."""
    import ray

    kind = text = ""
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
        ray.nodes()
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller puts it into words
        kind, text = type(error).__name__, str(error)
        if error.__cause__ is not None:
            text += f"\n{error.__cause__}"
    sys.stdout.write("\n" + json.dumps({"kind": kind, "text": text}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
