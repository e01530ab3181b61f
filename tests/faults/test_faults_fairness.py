"""Partitions beside each other: one that has much to do takes nothing from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from arms import side_by_side
from fleet import Fleet, until
from sizes import Size
from verdict import Verdict

ROW = "24 partitions, 20 ms work, concurrency 24, partition order, {}"
PARTITIONS = 24
#: Completions within which every partition has to have one.
WINDOW = 500

Makes = Callable[..., Fleet]
Judges = Callable[..., Verdict]


def probe(fleet: Fleet, verdict: Verdict, backlogs: list[int]) -> None:
    """One member with all partitions, each with its backlog at the start."""
    fleet.create(PARTITIONS)
    fed = 0
    for partition, count in enumerate(backlogs):
        fed = fleet.feed(count, begin=fed, partition=partition).stop
    fleet.start()
    until(lambda: len(fleet.ledger()) >= WINDOW + PARTITIONS, f"{WINDOW} completions")
    fleet.alive[0].kill()
    done = sorted(each.ended for each in fleet.ledger().handlings if each.ok and each.ended is not None)
    last = done[WINDOW - 1]
    shares = Counter(each.partition for each in fleet.ledger().handlings if each.ok and (each.ended or 0) <= last)
    verdict.equal(f"partitions that progress within {WINDOW} completions", len(shares), PARTITIONS)
    verdict.at_least("fewest completions of a partition by then", min(shares[each] for each in range(PARTITIONS)), 1)
    verdict.observe("most completions of a partition by then", max(shares.values()))
    verdict.observe("seconds for them", (last - done[0]) / 1e9, "s")
    verdict.equal(
        "pairs out of the partitions' order, or side by side in one", sum(fleet.ledger().order_violations()), 0
    )


@pytest.mark.parametrize("backlog", ["all with the same backlog", "one with a hundred times the backlog of the others"])
def test_no_partition_starves(fleet: Makes, verdict: Judges, size: Size, backlog: str) -> None:
    """Each partition progresses, whatever waits in the others.

    The control: an engine whose partitions share one queue, which the first that are fetched fill.
    """
    each = 2_000 if size == "full" else 200
    backlogs = [each] * PARTITIONS if backlog.startswith("all") else [20 * each, *[each // 5] * (PARTITIONS - 1)]
    row = ROW.format(backlog)
    judged, control = verdict(row), verdict(row, "one_queue")
    product, broken = fleet("ordered"), fleet("ordered", mutant=control.arm)
    side_by_side(partial(probe, product, judged, backlogs), partial(probe, broken, control, backlogs))
    judged.must_hold()
    control.must_break(f"partitions that progress within {WINDOW} completions")
