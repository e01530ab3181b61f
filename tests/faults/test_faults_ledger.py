"""The suite's own instruments: the processes, the ledger, and what is read from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet import Fleet, until
from ledger import Handling, Ledger

HANDLING = Handling(
    instance="m1",
    id=0,
    key="k",
    sequence=0,
    partition=0,
    offset=0,
    epoch=1,
    attempt=1,
    started=0,
    ended=10,
    outcome="ok",
)


def test_what_a_fleet_handles_stands_in_its_ledger(fleet: Callable[..., Fleet]) -> None:
    """Each record that two processes handle is in the ledger once, in order, and the broker has the commits."""
    under_test = fleet("steady")
    under_test.create(4)
    ids = under_test.feed(400, keys=20)
    under_test.start()
    under_test.start()
    until(lambda: not under_test.ledger().missing(ids), "all events to be handled")
    until(lambda: under_test.lag() == 0, "all to be committed")
    under_test.stop_all()
    ledger = under_test.ledger()
    assert ledger.redelivered() == 0
    assert ledger.order_violations() == (0, 0)
    assert ledger.sequence_violations() == 0
    assert sum(commit.offset for commit in under_test.commits().values()) == len(ids)


def test_a_handling_that_was_cut_off_is_read() -> None:
    """A start with no end is a call that was made, and no success."""
    ledger = Ledger([replace(HANDLING, ended=None, outcome="cut off"), replace(HANDLING, id=1, offset=1)])
    assert ledger.missing([0, 1]) == [0]
    assert ledger.attempts()[0] == 1


def test_a_descent_an_overlap_and_a_repetition_are_seen() -> None:
    """The order's and the repetition's detectors fire."""
    first, second = HANDLING, replace(HANDLING, id=1, sequence=1, offset=1, started=20, ended=30)
    assert Ledger([first, second]).order_violations() == (0, 0)
    assert Ledger([first, replace(second, started=5)]).order_violations() == (0, 1)
    assert Ledger([replace(first, started=40, ended=50), second]).order_violations() == (1, 0)
    assert Ledger([replace(first, started=40, ended=50), second]).sequence_violations() == 1
    again = replace(first, instance="m2", started=40, ended=50)
    assert Ledger([first, second, again]).repeated() == 1
    assert Ledger([first, second, replace(again, started=5)]).repeated() == 0
    assert Ledger([first, second]).longest_silence(0, 130) == 100 / 1e9


def test_a_descent_in_another_ownership_is_none() -> None:
    """What a successor, or the same process after a rebalance, delivers again begins a new window."""
    second = replace(HANDLING, id=1, offset=1, started=20, ended=30)
    assert Ledger([HANDLING, second, replace(HANDLING, epoch=2, started=40, ended=50)]).order_violations() == (0, 0)
    assert Ledger([HANDLING, second, replace(HANDLING, instance="m2", started=22, ended=50)]).order_violations() == (
        0,
        0,
    )
