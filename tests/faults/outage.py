"""The probe of outages: records are sent and handled all the while, and all of them must arrive."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from feeder import Feeder
from fleet import Fleet, Member, until
from verdict import Verdict

__all__ = ["Arm", "Back", "during_outages"]

PARTITIONS = 6
_KEYS = 24
_MEGABYTE = 1_000_000
#: What a member may grow by in an outage: nothing that it keeps depends on how long one lasts.
_GROWTH = 64
#: Says that what was broken is whole again, and returns when the first arm has gone on.
Back = Callable[[], None]


@dataclass
class Arm:
    """A fleet, how many members it has, and whether what feeds it waits for acknowledgements."""

    name: str
    fleet: Fleet
    members: int = 1
    waits_for_acknowledgements: bool = True
    growth: dict[str, int] = field(default_factory=dict)


def during_outages(
    arms: Sequence[Arm],
    outages: Callable[[Back], None],
    *,
    bootstrap: str,
    verdict: Callable[[str], Verdict],
    limit: float = 30.0,
) -> list[Verdict]:
    """Feed all arms, break what they stand on, and judge them, each by its own ledger.

    Args:
        arms: the product's first; the others must not hold.
        outages: breaks things and mends them; calls what it is given each time that all is whole again.
        bootstrap: the addresses by which members and producers reach the servers.
        verdict: makes the verdict of an arm.
        limit: seconds in which each partition goes on once all is whole.
    """
    with ExitStack() as stack:
        feeders = []
        for arm in arms:
            arm.fleet.create(PARTITIONS)
            for _ in range(arm.members):
                arm.fleet.start(bootstrap=bootstrap)
        for arm in arms:
            until(lambda fleet=arm.fleet: len(fleet.commits()) == PARTITIONS, "the group to form")  # type: ignore[misc]
            feeder = Feeder(bootstrap, arm.fleet.stream, keys=_KEYS, acknowledged=arm.waits_for_acknowledgements)
            feeders.append(stack.enter_context(feeder))
        for arm, feeder in zip(arms, feeders, strict=True):
            until(lambda: len(feeder.acknowledged) > 5 * _KEYS, "a steady stream")  # noqa: B023 - called at once
            until(lambda: len(arm.fleet.ledger()) > 5 * _KEYS, "a steady run")  # noqa: B023 - called at once
        stack.enter_context(_watched(arms))
        began = time.monotonic_ns()
        whole: list[int] = []

        def back() -> None:
            whole.append(time.monotonic_ns())
            until(
                lambda: _recovery(arms[0].fleet, feeders[0], whole[-1]) < float("inf"),
                "all partitions to go on",
                patience=2 * limit,
                every=0.2,
            )

        outages(back)
        for feeder in feeders:
            feeder.stop()
        first, fed = arms[0].fleet, feeders[0].acknowledged
        until(lambda: not first.ledger().missing(fed) and first.lag() == 0, "all to be handled and committed")
    return [
        _judge(verdict(arm.name), arm, feeder, began, whole, limit) for arm, feeder in zip(arms, feeders, strict=True)
    ]


def _recovery(fleet: Fleet, feeder: Feeder, whole: int) -> float:
    """Seconds until each partition had handled a record that was acknowledged after that instant."""
    sent = {id_ for id_, at in list(feeder.acknowledged.items()) if at > whole}
    firsts: dict[int, int] = {}
    for each in fleet.ledger().handlings:
        if each.ended is not None and each.id in sent:
            firsts[each.partition] = min(each.ended, firsts.get(each.partition, each.ended))
    return (max(firsts.values()) - whole) / 1e9 if len(firsts) == PARTITIONS else float("inf")


@contextlib.contextmanager
def _watched(arms: Sequence[Arm]) -> Iterator[None]:
    """Note by how much each member grows."""
    ended = threading.Event()

    def watch() -> None:
        at_start: dict[Member, int] = {}
        while not ended.wait(0.2):
            for arm in arms:
                for member in arm.fleet.alive:
                    with contextlib.suppress(OSError, IndexError):  # it has just ended
                        grown = member.rss() - at_start.setdefault(member, member.rss())
                        arm.growth[member.name] = max(grown, arm.growth.get(member.name, 0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _judge(verdict: Verdict, arm: Arm, feeder: Feeder, began: int, whole: Sequence[int], limit: float) -> Verdict:
    ledger = arm.fleet.ledger()
    verdict.equal("members that live", len(arm.fleet.alive), arm.members)
    busy = sum(each.started < began and (each.ended is None or each.ended > began) for each in ledger.handlings)
    verdict.at_least("events in flight when the first fault came", busy, 1)
    verdict.equal("acknowledged and not handled", len(ledger.missing(feeder.acknowledged)), 0)
    verdict.equal("handled and not sent", len(ledger.succeeded() - feeder.acknowledged.keys()), 0)
    verdict.equal("events of a key out of order", ledger.sequence_violations() + sum(ledger.order_violations()), 0)
    verdict.at_most("a member grows by", max(arm.growth.values(), default=0) / _MEGABYTE, _GROWTH, "MB")
    for count, instant in enumerate(whole, start=1):
        recovery = _recovery(arm.fleet, feeder, instant)
        verdict.at_most(f"all partitions go on after outage {count} is over", recovery, limit, "s")
    verdict.observe("acknowledged", len(feeder.acknowledged))
    verdict.observe("sends that failed and were repeated", feeder.failures)
    verdict.observe("handled again", ledger.redelivered())
    return verdict
