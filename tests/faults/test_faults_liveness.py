"""A function that blocks the event loop: it is named, and what it did to the others is over soon after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fleet import Fleet, until
from ledger import Ledger
from sizes import Size
from verdict import Verdict

ROW = "a function blocks the event loop past the session timeout"
#: The id of the event whose handler blocks; those of the other function are smaller.
HEAVY = 1_000_000


def probe(fleet: Fleet, verdict: Verdict, *, block: float, limit: float, events: int, members: int) -> None:
    """Have one function work, block the event loop under it, and see what becomes of both."""
    heavy = f"{fleet.stream}.heavy"
    fleet.create(4)
    fleet.create(1, stream=heavy)
    ids = range(events)
    for _ in range(members):
        fleet.start()
    until(lambda: {fleet.group_size(), fleet.group_size("compute")} == {members}, "all to join")
    fleet.feed(1, begin=HEAVY, stream=heavy)
    fleet.feed(events, keys=50)
    (fleet.folder / "gate").touch()
    until(lambda: HEAVY in fleet.ledger().attempts(), "the event loop to be blocked")
    blocking = next(each for each in fleet.ledger().handlings if each.id == HEAVY)
    began = blocking.started
    victims = [each for each in fleet.ledger().running(began) if each.instance == blocking.instance]
    assert len(victims) > 1, "nobody else was at work"

    def is_over() -> bool:
        return not fleet.ledger().missing(ids) and not fleet.lag() and not fleet.lag("compute", heavy)

    try:
        until(is_over, "all to be done and committed", patience=block + limit + 2, every=0.25)
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
    events, limit = (16_000, 60) if full else (3_000, 8)
    session = {} if full else {"DISPATCH_KAFKA__SESSION_TIMEOUT": "2"}
    in_two = f"{ROW}, in a group of two"
    arms = [
        (
            verdict(row, mutant or "dispatch"),
            fleet("blocking", mutant=mutant, environ={"FAULTS_BLOCK": str(block), **session}),
            block,
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
            pool.submit(probe, under_test, each, block=block, limit=limit, events=events, members=members)
            for each, under_test, block, members in arms
        ]
        for each in running:
            each.result()
    product, unwatched, ended, pair_of_product, forgetful = (each for each, *_ in arms)
    product.must_hold()
    pair_of_product.must_hold()
    unwatched.must_break("log lines that name the function and the place")
    ended.must_break("longest silence of the other function")
    forgetful.must_break("calls for the event that blocks")


def probe_crash(fleet: Fleet, verdict: Verdict) -> None:
    """Have one of 100 events end the process of its handler, and start that again as a supervisor would."""
    fleet.create(2)
    fleet.feed(100, keys=10)
    deaths = 0
    while deaths < 2:
        member = fleet.start()
        until(lambda: not member.is_alive or not fleet.lag(), "the end of the process or of the work")  # noqa: B023
        if member.is_alive:
            break
        deaths += 1
    fleet.stop_all()
    ledger = fleet.ledger()
    verdict.equal("dispatchers that it took with it", deaths, 0)
    verdict.equal("calls for the event", ledger.attempts()[50], 3)
    verdict.equal("the last of its attempts", max(each.attempt for each in ledger.handlings if each.id == 50), 3)
    verdict.equal("dead letters", len(fleet.records(f"{fleet.stream}.handle.dead")), 1)
    verdict.equal("other events that nobody handled", len(ledger.missing({*range(100)} - {50})), 0)


def test_an_event_that_ends_its_process(fleet: Callable[..., Fleet], verdict: Callable[..., Verdict]) -> None:
    """With processes of its own, a function that ends one has failed, once: the event becomes a dead letter after its
    attempts. In the dispatcher's process it takes that with it, each time anew, and no attempt is counted."""
    row = "an event whose handler ends the process it runs in"
    variables = ["FAULTS_STREAM", "FAULTS_LEDGER", "FAULTS_INSTANCE"]
    target = json.dumps({"type": "process", "processes": 1, "environment": variables})
    product, local = verdict(row), verdict(row, "in the dispatcher's own process")
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(probe_crash, fleet("ending", environ={"DISPATCH_FUNCTIONS__HANDLE__TARGET": target}), product),
            pool.submit(probe_crash, fleet("ending"), local),
        ]
        for each in running:
            each.result()
    product.must_hold()
    local.must_break("dispatchers that it took with it")
