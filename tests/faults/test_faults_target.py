"""A target that is out: no attempt is used, nothing goes to the dead letters, and all is delivered after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from arms import side_by_side
from fleet import Fleet, until, waited
from sizes import Size
from target import Target
from verdict import Verdict

from dispatcher.core.offsets import decode_metadata

OUTAGE = "a total outage of the target"
KEYS = 20


def probe_outage(fleet: Fleet, target: Target, verdict: Verdict, size: Size) -> None:
    """A target that answers 503 for half of the outage and is not there for the other, with events coming in all along."""
    partitions, each, seconds = (12, 5_000, 300.0) if size == "full" else (4, 300, 4.0)
    fleet.create(partitions)
    target.start()
    try:
        fleet.start()
        fed = fleet.feed(each, keys=KEYS)
        until(lambda: len(fleet.ledger().succeeded()) > each // 10, "the first events to be handled")
        target.refuse_all()
        began = time.monotonic()
        busy = fleet.lag()
        fed = range(fleet.feed(each, keys=KEYS, begin=fed.stop).stop)
        before = len(_settled(fleet))
        time.sleep(max(0.0, began + seconds / 2 - time.monotonic()))
        target.stop()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        handled = len(fleet.ledger().succeeded())
        target.start()
        lasted = time.monotonic() - began
        # The breaker asks again after 30 s at the latest; a control's dead letters are no events that are still to come.
        waited(lambda: fleet.lag() == 0, 90.0, every=0.5)
        fleet.stop_all()
    finally:
        target.stop()
    ledger = fleet.ledger()
    left = [
        attempts
        for commit in fleet.commits().values()
        for attempts in decode_metadata(commit.offset, commit.metadata).attempts.values()
    ]
    verdict.observe("seconds of the outage", lasted, "s")
    verdict.observe("times the waits of a retry budget", lasted / 0.2)
    verdict.at_least("events that were under way or waiting when it began", busy, 16)
    verdict.equal("events handled during it, but for those under way", max(0, handled - before), 0)
    verdict.equal("dead letters", fleet.length(f"{fleet.stream}.handle.dead"), 0)
    verdict.equal("most attempts of one event", max(call.attempt for call in ledger.handlings), 1)
    verdict.equal("attempts that the commits still tell of", sum(left), 0)
    verdict.equal("events never handled", len(ledger.missing(fed)), 0)
    verdict.equal("events of a key handled out of order", ledger.sequence_violations(), 0)
    verdict.equal("events behind the commits at the end", fleet.lag(), 0)


def _settled(fleet: Fleet) -> set[int]:
    """What has been handled once nothing runs any more at the target."""
    until(lambda: not fleet.ledger().running(time.monotonic_ns()), "what runs at the target to end")
    return fleet.ledger().succeeded()


def test_an_outage_of_the_target_uses_no_attempt(
    fleet: Callable[..., Fleet], verdict: Callable[..., Verdict], size: Size
) -> None:
    """However long the target is out, its events wait: with two attempts and 0.2 s between them, for 20 times that and more.

    The control: an engine that counts each try as an attempt.
    """
    judged, control = verdict(OUTAGE), verdict(OUTAGE, "counts_undelivered")
    arms = []
    for each, mutant in ((judged, None), (control, "counts_undelivered")):
        made = fleet("behind", mutant=mutant)
        target = Target(made.folder, made.source, made.environ)
        made.environ["DISPATCH_FUNCTIONS__HANDLE__TARGET"] = json.dumps({"type": "http", "url": target.url})
        arms.append(partial(probe_outage, made, target, each, size))
    side_by_side(*arms)
    judged.must_hold()
    control.must_break("most attempts of one event")
    control.must_break("dead letters")
