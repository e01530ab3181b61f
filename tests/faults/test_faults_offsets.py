"""What is delivered again after an end: what was not done, and nothing that was, however far beyond the committed offset."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Literal

import pytest
from fleet import Fleet, until
from verdict import Verdict

Size = Literal["smoke", "full"]
Fleets = Callable[..., Fleet]
Verdicts = Callable[..., Verdict]

THREE_FAIL = "10,000 records, three fail for ever, close without draining, reopen, in each metadata encoding"
ONE_IS_STUCK = "200,000 records in one partition, one stuck at the head, kill -9 in the middle, commit every 500 ms"

#: The encodings, each written for the partition of its place, whatever would be smaller.
ENCODINGS = "rbRB"
#: How soon a successor of a killed member is let in: after Kafka's least session timeout, or in a quick run at once, for
#: it comes in the other's name.
SUCCESSION = {
    "full": {"DISPATCH_KAFKA__SESSION_TIMEOUT": "6"},
    "smoke": {"DISPATCH_KAFKA__INSTANCE_ID": "the-one"},
}


def succeeded(fleet: Fleet) -> int:
    """How many handlers have returned, with no more work than counting the words."""
    return sum(path.read_bytes().count(b" ok ") for path in fleet.folder.glob("*.ledger"))


def begun(fleet: Fleet) -> int:
    """How many handlers have been called."""
    return sum(path.read_bytes().count(b"S ") for path in fleet.folder.glob("*.ledger"))


# -- three fail for ever


def undone(records: int) -> dict[str, dict[int, list[int]]]:
    """Which offsets never get done, of each partition.

    In the first four the three that fail. In the others so many are in flight for ever, and so placed, that the map is
    smallest as a bit set, as run lengths that are deflated, and as a bit set that is deflated.
    """
    three = [records * part // 10_000 for part in (123, 2_345, 8_765)]
    rng = random.Random(1)
    block = [bit for bit in range(64) if rng.random() < 0.3]
    return {
        "fails": dict.fromkeys(range(len(ENCODINGS)), three),
        "hangs": {
            4: sorted(rng.sample(range(records - 200, records), 100)),
            5: list(range(100, records, records // 100)),
            6: [records - 512 + 64 * times + bit for times in range(8) for bit in block],
        },
    }


def probe_undone(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Close with chosen events not done, reopen, and see what comes again."""
    chosen = undone(records)
    left = {(number, offset) for kind in chosen.values() for number, offsets in kind.items() for offset in offsets}
    partitions = len(ENCODINGS) + 3
    fleet.create(partitions)
    for number in range(partitions):
        fleet.feed(records, begin=number * records, partition=number)
    first = fleet.start(FAULTS_UNDONE=json.dumps(chosen), FAULTS_ENCODINGS=ENCODINGS)
    until(lambda: begun(fleet) == partitions * records, "every event to be begun", every=0.2)
    until(lambda: succeeded(fleet) == partitions * records - len(left), "all others to be done", every=0.2)
    first.terminate()
    first.wait()
    commits = fleet.commits()

    fleet.start()
    until(lambda: fleet.lag() == 0, "the reopened one to catch up", every=0.2)
    fleet.stop_all()
    ledger = fleet.ledger()
    again = [(each.partition, each.offset) for each in ledger.handlings if each.instance == "m2"]
    verdict.equal("delivered again", len(again), len(left))
    verdict.equal("of them done before", len([place for place in again if place not in left]), 0)
    verdict.equal("missing", len(ledger.missing(range(partitions * records))), 0)
    verdict.equal(
        "partitions whose commit is in the encoding meant",
        sum(commits[number].metadata[4:5] == kind for number, kind in enumerate(ENCODINGS + "bRB")),
        partitions,
    )
    verdict.observe("longest metadata", max(len(commit.metadata) for commit in commits.values()), "bytes")


def fleet_of_undone(fleet: Fleets, mutant: str | None = None) -> Fleet:
    """No draining, and room for all that hangs."""
    return fleet("undone", mutant=mutant, environ={"DISPATCH_DRAIN": "0", "FAULTS_CONCURRENCY": "512"})


def undone_size(size: Size) -> int:
    """Records of each partition."""
    return 10_000 if size == "full" else 1_000


def test_what_was_not_done_is_delivered_again_and_nothing_else(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """Precise offsets: after a close in which nothing was waited for, exactly the events that were not done come again,
    in each of the four encodings of the map, and each of them is the one chosen where it is the smallest."""
    result = verdict(THREE_FAIL)
    probe_undone(fleet_of_undone(fleet), result, undone_size(size))
    result.must_hold()


@pytest.mark.parametrize(
    ("mutant", "what"), [("contiguous_only", "of them done before"), ("commit_highest", "missing")]
)
def test_the_probe_sees_what_comes_again_and_what_does_not(
    fleet: Fleets, verdict: Verdicts, size: Size, mutant: str, what: str
) -> None:
    """Without the map all beyond the first of the three comes again, and with a commit behind the last none of them does."""
    result = verdict(THREE_FAIL, mutant)
    probe_undone(fleet_of_undone(fleet, mutant), result, undone_size(size))
    result.must_break(what)


# -- one is stuck at the head


def probe_stuck(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Kill the owner of a partition while its first event is stuck, and see what its successor is handed."""
    fleet.create()
    fleet.feed(records)
    first = fleet.start(FAULTS_UNDONE=json.dumps({"hangs": {0: [0]}}))
    until(lambda: succeeded(fleet) >= records // 2, "the middle", every=0.01)
    first.kill()
    at_kill = fleet.ledger()
    verdict.at_least("in flight at the kill", sum(each.outcome == "cut off" for each in at_kill.handlings), 1)
    done = sorted(each.ended or 0 for each in at_kill.handlings if each.ok)
    verdict.observe("events a second before it", len(done) / ((done[-1] - done[0]) / 1e9))

    fleet.start()
    until(lambda: fleet.lag() == 0, "the successor to catch up", patience=300, every=0.2)
    fleet.stop_all()
    ledger = fleet.ledger()
    verdict.at_most("delivered again", ledger.redelivered(), 5_000)
    verdict.equal("missing", len(ledger.missing(range(records))), 0)
    verdict.observe("done before the kill", len(done))


def fleet_of_stuck(fleet: Fleets, size: Size, mutant: str | None = None) -> Fleet:
    """Sixteen at a time, a millisecond each, and a commit every 500 ms."""
    environ = {**SUCCESSION[size], "FAULTS_WORK": "1", "DISPATCH_COMMIT_INTERVAL": "0.5"}
    return fleet("undone", mutant=mutant, environ=environ)


def stuck_size(size: Size) -> int:
    """Records of the partition."""
    return 200_000 if size == "full" else 20_000


def test_a_stuck_head_does_not_make_its_partition_repeat(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """Precise offsets: what was done behind a stuck event is known to the successor of a killed process, but for what one
    commit interval had not told yet."""
    result = verdict(ONE_IS_STUCK)
    probe_stuck(fleet_of_stuck(fleet, size), result, stuck_size(size))
    result.must_hold()


@pytest.mark.parametrize(
    ("mutant", "what"),
    [("contiguous_only", "delivered again"), ("commit_highest", "missing"), ("commit_before_processing", "missing")],
)
def test_the_probe_sees_a_partition_repeated_or_lost(
    fleet: Fleets, verdict: Verdicts, size: Size, mutant: str, what: str
) -> None:
    """An engine that commits the contiguous prefix alone repeats all that it had done; one that commits what it did last,
    or what it has fetched, loses the stuck event."""
    result = verdict(ONE_IS_STUCK, mutant)
    probe_stuck(fleet_of_stuck(fleet, size, mutant), result, stuck_size(size))
    result.must_break(what)
