"""What a scrape tells of a function of which not all is known."""

from __future__ import annotations

import pytest

from dispatcher.core.counters import Histogram
from dispatcher.telemetry.measures import Measures, PartitionMeasures
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.snapshot import Snapshot

NAME = "dispatch_oldest_incomplete_age_seconds"


def told(ages: list[float | None], *, memory: float | None) -> tuple[list[object], list[object]]:
    """The oldest age and whether all is known, of partitions with these ages and an oldest event in memory of that one."""
    counts = dict.fromkeys(Statistics._fields, 0) | {"function": "f", "group": "a.f", "state": "running"}
    counts["backlog"] = None if None in ages else len(ages)  # type: ignore[assignment]
    function = Measures(
        statistics=Statistics(**counts),  # type: ignore[arg-type]
        durations=Histogram((1,)), batch_sizes=None, errors=0, timeouts=0, refused=0, reasons={}, commits=0, held_bytes=0,
        oldest_age=memory, limit=1, maximum=1, paused=False, breaker="closed", rebalances=0, rebalance_seconds=0.0,
        partitions=[
            PartitionMeasures(
                stream="s", number=number, lag=None if age is None else 1, backlog=None if age is None else 1,
                lag_seconds=age, map_use=0.0,
            )
            for number, age in enumerate(ages)
        ],
    )  # fmt: skip
    snapshot = Snapshot(app="a", system="kafka", functions=[function], depths={}, stuck={}, loop_lag=0.0)
    samples = list(snapshot.samples())
    return [v for name, _, v in samples if name == NAME], [v for name, _, v in samples if name == "dispatch_lag_known"]


@pytest.mark.parametrize(
    ("ages", "memory", "oldest", "known"),
    [
        ([], None, [0.0], True),
        ([0.0, 0.0], None, [0.0], True),
        ([3.0, 90.0], 3.0, [90.0], True),  # the older one is not fetched yet
        ([3.0, None], 3.0, [3.0], False),
        ([0.0, None], None, [], False),
        ([None, None], None, [], False),
    ],
)
def test_the_oldest_age_is_that_of_all_and_never_0_for_unknown(
    ages: list[float | None], memory: float | None, oldest: list[float], known: bool
) -> None:
    """It counts what is not fetched yet; where a partition can't be read, only what is in memory is told, and nothing in memory is
    no 0."""
    assert told(ages, memory=memory) == (oldest, [known])
