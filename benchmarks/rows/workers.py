"""Several processes on several cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, PythonArm, ratio
from benchmarks.orders import KEYS
from benchmarks.stage import Stage

#: Microseconds of CPU time that an event's function takes. With none, the broker, which needs a core too, is what is measured.
WORK = (300, 0)


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """A log for each amount of work; that for none is longer."""
    return {
        "bootstrap": stage.bootstrap,
        "streams": {str(each): stage.log(given["events"][str(each)], partitions=6, keys=KEYS) for each in WORK},
    }


BENCHES = [
    Bench(
        name="workers",
        question="dispatch run --workers 2 against one process: pydantic model, key order, real Kafka on the same machine;"
        " a function of 300 us of CPU time, and one that does nothing",
        arms=[
            PythonArm(f"{workers} of {work} us", "workers:run", {"work_us": work, "workers": workers})
            for work in WORK
            for workers in (1, 2)
        ],
        goals=[
            ratio("2 of 300 us", "1 of 300 us", at_least=1.8),
            # Where the machine has two cores, the broker takes of the second what it needs.
            ratio("2 of 0 us", "1 of 0 us"),
        ],
        full={"events": {"300": 40_000, "0": 2_000_000}},
        quick={"events": {"300": 6_000, "0": 60_000}},
        prepare=prepare,
    ),
]
