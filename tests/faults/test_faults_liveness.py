"""A function that blocks the event loop: it is named, and what it did to the others is over soon after."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Size
from fleet import Fleet, until
from ledger import Ledger
from verdict import Verdict

ROW = "a function blocks the event loop past the session timeout"
#: The id of the event whose handler blocks; those of the other function are smaller.
HEAVY = 1_000_000


def probe(fleet: Fleet, verdict: Verdict, *, limit: float, events: int, members: int = 1) -> None:
    """Have one function work, block the event loop under it, and see what becomes of both."""
    heavy = f"{fleet.stream}.heavy"
    fleet.create(4)
    fleet.create(1, stream=heavy)
    ids = fleet.feed(events, keys=50)
    for _ in range(members):
        fleet.start()
    until(lambda: len(fleet.ledger().succeeded()) > events // 20, "the work to begin")
    fleet.feed(1, begin=HEAVY, stream=heavy)
    until(lambda: HEAVY in fleet.ledger().attempts(), "the event loop to be blocked")
    blocked = fleet.ledger()
    began = next(each.started for each in blocked.handlings if each.id == HEAVY)
    assert any(each.ended is None for each in blocked.handlings if each.id != HEAVY), "nobody was at work"

    def is_over() -> bool:
        return not fleet.ledger().missing(ids) and not fleet.lag() and not fleet.lag("compute", heavy)

    try:
        until(is_over, "all to be done and committed", patience=limit + 2, every=0.25)
        is_committed = True
    except AssertionError:
        is_committed = False
    others = Ledger(each for each in fleet.ledger().handlings if each.id != HEAVY)
    until_now = time.monotonic_ns() if others.missing(ids) else None
    verdict.at_most("longest silence of the other function", others.longest_silence(began, until_now), limit, "s")
    verdict.at_most("calls for the event that blocks", fleet.ledger().attempts()[HEAVY], members)
    verdict.observe("other events delivered again", others.redelivered())
    verdict.equal("events that nobody handled", len(fleet.ledger().missing([*ids, HEAVY])), 0)
    verdict.equal("all is committed", is_committed, expected=True)
    verdict.at_least(
        "log lines that name the function and the place", fleet.said().count("compute has blocked the event loop"), 1
    )


@pytest.mark.timeout(600)
def test_a_function_that_blocks_the_event_loop(
    fleet: Callable[..., Fleet], verdict: Callable[..., Verdict], size: Size
) -> None:
    """The group takes the blocked member's partitions away. When it is back, it goes on within seconds, with what it had
    done: the very event that blocked is not delivered again, which would block for ever. The log names the function."""
    full = size == "full"
    alone, pair = (40.0, 15.0) if full else (3.0, 3.0)
    events, limit = (20_000, 60) if full else (1_500, 8)
    session = {} if full else {"DISPATCH_KAFKA__SESSION_TIMEOUT": "2"}
    in_two = f"{ROW}, in a group of two"
    arms = [
        (
            verdict(row, mutant or "dispatch"),
            fleet("blocking", mutant=mutant, environ={"FAULTS_BLOCK": str(block), **session}),
            members,
        )
        for row, mutant, block, members in (
            (ROW, None, alone, 1),
            (ROW, "no_watchdog", alone, 1),
            (ROW, "ends_when_refused", alone, 1),
            (in_two, None, pair, 2),
            (in_two, "forgets_refused_commits", pair, 2),
        )
    ]
    with ThreadPoolExecutor() as pool:  # each waits for most of its time
        running = [
            pool.submit(probe, under_test, each, limit=limit, events=events, members=members)
            for each, under_test, members in arms
        ]
        for each in running:
            each.result()
    product, unwatched, ended, pair_of_product, forgetful = (each for each, *_ in arms)
    product.must_hold()
    pair_of_product.must_hold()
    unwatched.must_break("log lines that name the function and the place")
    ended.must_break("longest silence of the other function")
    forgetful.must_break("calls for the event that blocks")
