"""Partitions asked for back: what was finished is committed before they go, and nobody gets it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from arms import side_by_side
from fleet import Fleet, until
from ledger import Handling
from sizes import Size
from verdict import Verdict

from dispatcher.core.offsets import decode_metadata

ROW = "a member with 20 finished and uncommitted events is asked to give up its partitions"
# As apps/retrying.py tells events apart.
FAILING, SLOW, QUICK = 0, 1_000, 10_000

Makes = Callable[..., Fleet]
Judges = Callable[..., Verdict]


def probe(fleet: Fleet, verdict: Verdict, size: Size) -> None:
    """A member that commits once an hour finishes events; another joins, and then the first one leaves.

    In every second partition an event that waits for its next attempt stands before the finished ones, so that what is
    finished there can only travel beside the committed offset.
    """
    partitions, each = (24, 20) if size == "full" else (4, 5)
    fleet.create(partitions)
    for partition in range(partitions):
        # However the group shares them, both members get partitions of both kinds.
        if partition % 4 in (1, 2):
            fleet.feed(1, begin=FAILING + partition, partition=partition)
        fleet.feed(each, begin=QUICK + partition * each, partition=partition)
    finished = range(QUICK, QUICK + partitions * each)
    first = fleet.start()
    until(lambda: not fleet.ledger().missing(finished), "all quick events to be done")
    untold = uncommitted(fleet, finished)
    second, slow = fleet.start(), range(SLOW, SLOW)
    while fleet.group_size() < 2:
        if len(in_flight(fleet)) < 8:
            slow = range(SLOW, fleet.feed(8, begin=slow.stop).stop)
    busy = len(in_flight(fleet))
    markers = range(finished.stop, finished.stop)
    while not (taken := {each.partition for each in fleet.ledger().handlings if each.instance == second.name}):
        markers = range(finished.stop, mark(fleet, partitions, markers.stop).stop)
    first.terminate()
    first.wait()
    markers = range(finished.stop, mark(fleet, partitions, markers.stop).stop)
    until(lambda: not fleet.ledger().missing([*markers, *slow]), "the second member to do all that is left")
    fleet.stop_all()
    ledger = fleet.ledger()
    calls = ledger.attempts()
    verdict.at_least("finished events that no commit told of", untold, 20)
    verdict.at_least("invocations in flight when it was asked", busy, 1)
    verdict.observe("partitions seen at the successor before the first member left", len(taken))
    verdict.equal("finished events that were delivered again", sum(calls[id_] > 1 for id_ in finished), 0)
    verdict.equal("deliveries of events that were done, those in flight then included", ledger.repeated(), 0)


def mark(fleet: Fleet, partitions: int, begin: int) -> range:
    """Send one more event to each partition: whoever handles it has taken the partition over."""
    for partition in range(partitions):
        fleet.feed(1, begin=begin + partition, partition=partition)
    return range(begin, begin + partitions)


def uncommitted(fleet: Fleet, ids: range) -> int:
    """How many of these events are done, and not so by the group's commits."""
    commits = fleet.commits()

    def is_told(handling: Handling) -> bool:
        if (commit := commits.get(handling.partition)) is None:
            return False
        done = decode_metadata(commit.offset, commit.metadata).done
        return handling.offset < commit.offset or any(start <= handling.offset < stop for start, stop in done)

    return len({each.id for each in fleet.ledger().handlings if each.ok and each.id in ids and not is_told(each)})


def in_flight(fleet: Fleet) -> list[Handling]:
    """What runs now."""
    return fleet.ledger().running(time.monotonic_ns())


def test_what_was_finished_is_not_delivered_again(fleet: Makes, verdict: Judges, size: Size) -> None:
    """A member that is asked for its partitions commits all that it has finished before it lets them go.

    The control: an engine that leaves out that last commit.
    """
    judged, control = verdict(ROW), verdict(ROW, "no_commit_on_revoke")
    environ = {"DISPATCH_COMMIT_INTERVAL": "3600", "FAULTS_WAITS": "600", "FAULTS_SLOW": "1"}
    product, broken = fleet("retrying", environ=environ), fleet("retrying", mutant=control.arm, environ=environ)
    side_by_side(partial(probe, product, judged, size), partial(probe, broken, control, size))
    judged.must_hold()
    control.must_break("finished events that were delivered again")
