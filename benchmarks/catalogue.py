"""All benchmarks, in the order of the page."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from benchmarks.bench import Bench

__all__ = ["catalogue", "chosen"]

#: Modules of ``benchmarks.rows``; each has its ``BENCHES``.
ROWS = ("local", "parallel", "flight", "targets", "latency", "start", "memory", "growth", "workers")


def catalogue() -> list[Bench]:
    """Every bench there is."""
    return [bench for row in ROWS for bench in importlib.import_module(f"benchmarks.rows.{row}").BENCHES]


def chosen(names: Sequence[str]) -> list[Bench]:
    """The benches of these names, and those of a group: ``local`` is all whose names begin with ``local.``.

    Raises:
        LookupError: there is no bench of a name.
    """
    every = catalogue()
    found: dict[str, Bench] = {}
    for name in names or [""]:
        those = [bench for bench in every if not name or bench.name == name or bench.name.startswith(f"{name}.")]
        if not those:
            raise LookupError(f"there is no benchmark {name}; there are {', '.join(bench.name for bench in every)}")
        found |= {bench.name: bench for bench in those}
    return list(found.values())
