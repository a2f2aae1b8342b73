"""Metamorphic relations, and random, tied and real maps against the reference.

The relations are the tables `RELATIONS` of `relations_of_maps`, `relations_of_units`,
`relations_of_networks` and `relations_of_statistics`: each a theorem in one sentence, and the
function that draws an example of it. `example("cone", 123)` computes an example again by its seed.
"""

from __future__ import annotations

import os
import zlib
from unittest import mock

from audit.network.threads import one_math_thread
from tests.campaigns import (
    maps_with_reference,
    relations_of_maps,
    relations_of_networks,
    relations_of_statistics,
    relations_of_units,
)
from tests.campaigns.relation import broken
from tests.campaigns.report import Report, command

TABLES = (relations_of_maps, relations_of_units, relations_of_networks, relations_of_statistics)
RELATIONS = {relation.name: relation for table in TABLES for relation in table.RELATIONS}
MAPS_PER_EXAMPLE = 50


def example(name: str, seed: int) -> str:
    """What differs in one example of a relation; nothing where it holds."""
    return broken(RELATIONS[name], seed)


def run(count: int, seed: int) -> Report:
    """So many examples of each relation, and fifty times as many maps."""
    report = Report()
    # Work this small only loses by being shared.
    with one_math_thread(), mock.patch.dict(os.environ, {"GENAUDIT_THREADS": "1"}):
        for name, relation in RELATIONS.items():
            for number in range(count):
                own = zlib.crc32(f"{seed}/{name}/{number}".encode())
                if told := broken(relation, own):
                    report.fail(f"{name}, example({name!r}, {own}): {told}")
                report.count(f"relation: {name}")
                report.count("examples of relations")
        report.count("relations", len(RELATIONS))
        maps_with_reference.run(report, MAPS_PER_EXAMPLE * count, seed)
    return report


if __name__ == "__main__":
    command(run, 200)
