"""The judges of a storm: the same seed is the same storm, and what no fault explains is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aftermath import Cause, repetitions, silence
from ledger import Handling, Ledger
from storm import Disturbance, Kind, schedule

SECOND = 1_000_000_000
KINDS: tuple[Kind, ...] = ("join", "terminate", "kill", "freeze")
#: Done by m1 at 10 s, and again by m2 at 20 s.
FIRST = Handling(
    instance="m1",
    id=0,
    key="k",
    sequence=0,
    partition=0,
    offset=0,
    epoch=1,
    attempt=1,
    started=9 * SECOND,
    ended=10 * SECOND,
    outcome="ok",
)
AGAIN = replace(FIRST, instance="m2", started=20 * SECOND, ended=21 * SECOND)


def disturbance(kind: Kind, member: str, at: float, until: float) -> Disturbance:
    """One between two times in seconds."""
    return Disturbance(kind, member, int(at * SECOND), int(until * SECOND), in_flight=1)


def test_a_storm_is_replayed_by_its_seed() -> None:
    """The same seed gives the same disturbances, another one others, and each storm has its share of every kind."""
    one = schedule(7, 12, KINDS, after=(0.1, 2.0), lasts=(1.0, 9.0))
    assert one == schedule(7, 12, KINDS, after=(0.1, 2.0), lasts=(1.0, 9.0))
    assert one != schedule(8, 12, KINDS, after=(0.1, 2.0), lasts=(1.0, 9.0))
    assert sorted(step.kind for step in one) == sorted(3 * KINDS)


def test_a_failure_that_is_tried_again_is_no_repetition() -> None:
    """A later attempt is what a failed event is for; one that comes while the first still runs, or after a success, is not."""
    failed = replace(FIRST, outcome="ValueError")
    assert not repetitions(Ledger([failed, AGAIN]))
    assert repetitions(Ledger([FIRST, AGAIN])) == [(FIRST, AGAIN)]
    meanwhile = replace(AGAIN, started=FIRST.started + 1)
    assert repetitions(Ledger([failed, meanwhile])) == [(failed, meanwhile)]
    assert len(repetitions(Ledger([replace(FIRST, ended=None, outcome="cut off"), AGAIN]))) == 1


@pytest.mark.parametrize(
    ("what", "explained"),
    [
        (None, False),
        (disturbance("join", "", 10.1, 10.1), False),
        (disturbance("terminate", "m1", 10.1, 10.1), False),
        (disturbance("kill", "m1", 10.3, 10.3), True),
        (disturbance("kill", "m2", 10.3, 10.3), False),
        (disturbance("kill", "m1", 14.0, 14.0), False),
        (disturbance("kill", "m1", 8.0, 8.0), False),
        (disturbance("freeze", "m1", 10.3, 19.0), True),
        (disturbance("freeze", "m2", 10.3, 19.0), True),
        (disturbance("freeze", "m2", 2.0, 6.0), False),
        (disturbance("outage", "", 10.3, 15.0), True),
        (disturbance("outage", "", 60.0, 65.0), False),
    ],
    ids=str,
)
def test_only_what_kept_a_commit_from_being_made_explains_a_repetition(
    what: Disturbance | None, explained: bool
) -> None:
    """A kill within the commit interval of its owner does, and a freeze or an outage; a join, a SIGTERM, another member's
    end and one long after do not."""
    assert Cause([what] if what else []).of(FIRST, AGAIN) is explained


def test_what_outlives_the_drain_may_come_again() -> None:
    """An event that runs longer than its members drain is let go at each rebalance."""
    assert Cause([], outlives_drain=lambda id_: id_ == FIRST.id).of(FIRST, AGAIN)


def test_a_call_that_was_let_go_is_no_attempt() -> None:
    """One that outlives the drain and is ended at a rebalance has come to nothing; one that failed by itself is an attempt."""
    cause = Cause([], outlives_drain=lambda id_: id_ == FIRST.id)
    assert cause.was_let_go(replace(FIRST, outcome="CancelledError"))
    assert not cause.was_let_go(replace(FIRST, outcome="ValueError"))
    assert not cause.was_let_go(replace(FIRST, id=1, outcome="CancelledError"))


def test_a_silence_counts_only_while_something_could_run() -> None:
    """A span in which all that is left stands behind slow events of its keys is the workload's; one in which a single
    event could have run is a standstill."""

    def done(id_: int, key: str, sequence: int, ended: float) -> Handling:
        return Handling(
            instance="m1", id=id_, key=key, sequence=sequence, partition=0, offset=id_, epoch=1, attempt=1,
            started=0, ended=int(ended * SECOND), outcome="ok",
        )  # fmt: skip

    slow, other = done(0, "a", 0, 45), done(2, "b", 0, 1)
    behind = replace(done(1, "a", 1, 46), started=46 * SECOND)
    late = replace(other, id=3, sequence=1, ended=45 * SECOND)

    def silent(*handlings: Handling) -> float:
        return silence(Ledger(handlings), range(4), is_slow=lambda id_: id_ == 0)

    assert silence(Ledger([slow, behind, other]), range(3), is_slow=lambda id_: id_ == 0) < 2
    assert silent(slow, behind, other, late) == 44
