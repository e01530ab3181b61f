"""Attempts and waits through rebalances, signals and kills: the count goes on, and nothing is committed past a wait."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
from arms import side_by_side
from fleet import Fleet, until
from sizes import Size
from verdict import Verdict

from dispatcher.core.offsets import decode_metadata
from dispatcher.deadletters import read_letter

ATTEMPTS = "attempts limited to 5, a {} after every second attempt"
WAITING = "a {} in the middle of a backoff wait"
# As apps/retrying.py tells events apart.
FAILING, SLOW, QUICK = 0, 1_000, 10_000
SESSION = 3.0
# Seconds that a drain may take, and that the events in flight do.
BUDGET: dict[Size, float] = {"smoke": 6.0, "full": 20.0}
LONG: dict[Size, float] = {"smoke": 1.0, "full": 3.0}

Makes = Callable[..., Fleet]
Fault = Literal["rebalance", "kill -9", "SIGTERM"]
Judges = Callable[..., Verdict]


def attempts_left_behind(fleet: Fleet) -> dict[tuple[int, int], int]:
    """The attempts that the group's commits tell a successor of: (partition, offset) -> attempts."""
    return {
        (partition, offset): attempts
        for partition, commit in fleet.commits().items()
        for offset, attempts in decode_metadata(commit.offset, commit.metadata).attempts.items()
    }


def seconds_since(began: int) -> float:
    """Seconds since a time in nanoseconds."""
    return (time.monotonic_ns() - began) / 1e9


# -- five attempts in all


def probe_attempts(fleet: Fleet, verdict: Verdict, size: Size, fault: Fault) -> None:
    """Events that always fail, and a fault each time all of them have used up two more attempts.

    The wait after every second attempt is longer than the test, so that only the fault can end it. A kill comes once
    the attempts are committed: what is younger than the commit interval, no process can know of another.
    """
    partitions, each = (24, 25) if size == "full" else (4, 2)
    fleet.create(partitions)
    for partition in range(partitions):
        fleet.feed(each, begin=FAILING + partition * each, partition=partition)
    failing = range(FAILING, FAILING + partitions * each)
    dead = f"{fleet.stream}.handle.dead"
    load = Load(fleet)
    fleet.start()
    fleet.start()
    busy: list[int] = []
    for used in (2, 4):
        wait_for_attempts(fleet, failing, used)
        if fault == "kill -9":
            load.waited(partial(is_left_behind, fleet, used), SESSION)
            load.waited(lambda: in_flight(fleet) >= 2, SESSION)
            busy.append(in_flight(fleet))
            fleet.alive[0].kill()
            fleet.start()
        elif used == 2:
            fleet.start()
            load.until(lambda: fleet.group_size() == 3, "the third member to ask to be let in")
            busy.append(in_flight(fleet))
        else:
            load.until(lambda: in_flight(fleet) >= 2, "slow ones to be in flight")
            busy.append(in_flight(fleet))
            fleet.alive[0].terminate()
    until(
        lambda: fleet.length(dead) >= len(failing) or min_attempts(fleet, failing) > 5,
        "the dead letters of all that fail, or a sixth attempt",
    )
    fleet.stop_all()
    calls = fleet.ledger().attempts()
    verdict.observe("events that fail", len(failing))
    verdict.equal("most attempts of one event", max(calls[id_] for id_ in failing), 5)
    verdict.equal("fewest attempts of one event", min(calls[id_] for id_ in failing), 5)
    letters = [read_letter(record) for record in fleet.records(dead)]
    verdict.equal("dead letters", len(letters), len(failing))
    verdict.equal("dead letters that tell of five attempts", sum(each.attempts == 5 for each in letters), len(failing))
    verdict.at_least("invocations in flight at each fault", min(busy), 1)


class Load:
    """Slow events, a few more whenever hardly any run: a fault is to hit members that are at work."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.ids = range(SLOW, SLOW)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Keep the fleet at work until the condition holds."""
        assert self.waited(condition, 60), f"waited in vain for {what}"

    def waited(self, condition: Callable[[], object], patience: float) -> bool:
        """The same, for what a control arm never does; whether it held."""

        def holds() -> object:
            if in_flight(self.fleet) < 8:
                self.ids = range(SLOW, self.fleet.feed(8, begin=self.ids.stop).stop)
            return condition()

        return waits_for(holds, patience)


def min_attempts(fleet: Fleet, ids: range) -> int:
    """The fewest attempts that one of these has ended."""
    ended = Counter(each.id for each in fleet.ledger().handlings if each.ended is not None)
    return min(ended[id_] for id_ in ids)


def in_flight(fleet: Fleet) -> int:
    """The handlings that run now, in members that live."""
    alive = {member.name for member in fleet.alive}
    return sum(each.instance in alive for each in fleet.ledger().running(time.monotonic_ns()))


def waits_for(condition: Callable[[], object], patience: float) -> bool:
    """Wait until it holds, and not for ever; whether it did."""
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def wait_for_attempts(fleet: Fleet, ids: range, used: int) -> None:
    """Wait until each of these has used up so many attempts."""
    until(lambda: min_attempts(fleet, ids) >= used, f"attempt {used} of all that fail")


def is_left_behind(fleet: Fleet, used: int) -> bool:
    """Whether the commits tell of so many attempts, of all that fail."""
    return min(attempts_left_behind(fleet).values(), default=0) >= used


def attempting(fleet: Makes, mutant: str | None = None) -> Fleet:
    """A fleet whose failing events are tried again at once after odd attempts, and in ten minutes after even ones."""
    return fleet(
        "retrying",
        mutant=mutant,
        environ={
            "FAULTS_WAITS": "0.1,600",
            "DISPATCH_COMMIT_INTERVAL": "0.2",
            "DISPATCH_KAFKA__SESSION_TIMEOUT": str(SESSION),
        },
    )


@pytest.mark.parametrize("fault", ["rebalance", "kill -9"])
def test_attempts_are_counted_across_owners(fleet: Makes, verdict: Judges, size: Size, fault: Fault) -> None:
    """An event has five attempts in all, whoever makes them, and then it is a dead letter.

    The control: an engine whose owners each count from one, so that nothing ever becomes a dead letter.
    """
    row, mutant = ATTEMPTS.format(fault), "forget_attempts"
    judged, control = verdict(row), verdict(row, mutant)
    product, broken = attempting(fleet), attempting(fleet, mutant)
    side_by_side(
        partial(probe_attempts, product, judged, size, fault),
        partial(probe_attempts, broken, control, size, fault),
    )
    judged.must_hold()
    control.must_break("most attempts of one event")
    control.must_break("dead letters")


# -- let go in the middle of a wait


def probe_waiting(fleet: Fleet, verdict: Verdict, size: Size, fault: Fault) -> None:
    """In each partition an event waits 30 s for its third attempt, with events done before and behind it.

    A rebalance leaves the third attempt to the successor and fails it once more, so that what its first commits say
    can be looked at before the event is done.
    """
    partitions, before, behind = (24, 50, 500) if size == "full" else (4, 5, 20)
    fleet.create(partitions)
    quick = QUICK
    for partition in range(partitions):
        fleet.feed(before, begin=quick, partition=partition)
        fleet.feed(1, begin=FAILING + partition, partition=partition)
        fleet.feed(behind, begin=quick + before, partition=partition)
        quick += before + behind
    failing, places = range(FAILING, FAILING + partitions), {(partition, before) for partition in range(partitions)}
    first = fleet.start()
    until(lambda: min_attempts(fleet, failing) == 2, "the second attempt of all that fail")
    until(lambda: not fleet.ledger().missing(range(QUICK, quick)), "all others to be done")
    load = Load(fleet)
    if fault == "SIGTERM":
        load.until(lambda: in_flight(fleet) >= 2, "slow ones to be in flight")
        busy, asked = in_flight(fleet), time.monotonic_ns()
        first.terminate()
        verdict.equal("exit code, less 128", first.wait() - 128, 15)
    else:
        fleet.start()
        seen: list[tuple[int, int]] = []

        def is_joined() -> bool:
            # Before the broker is asked: on a busy machine its answer is old when it comes.
            seen.append((in_flight(fleet), time.monotonic_ns()))
            return fleet.group_size() == 2

        load.until(is_joined, "the second member to ask to be let in")
        busy, asked = seen[-1]
        # A mutant may commit past them: then there is nothing left to wait for.
        waits_for(lambda: min_attempts(fleet, failing) >= 3 or fleet.lag() == 0, 60)
        waits_for(lambda: is_left_behind(fleet, 3) or fleet.lag() == 0, 10)
    let_go = seconds_since(asked)
    left, used = attempts_left_behind(fleet), 2 if fault == "SIGTERM" else 3
    offsets = {partition: commit.offset for partition, commit in fleet.commits().items()}
    if fault == "rebalance":
        again = [each for each in fleet.ledger().handlings if each.id in failing and each.attempt == 3]
        let_go = (min((each.started for each in again), default=time.monotonic_ns()) - asked) / 1e9
        first.terminate()
    else:
        fleet.start()
    waits_for(lambda: fleet.ledger().succeeded().issuperset(failing) or fleet.lag() == 0, 60)
    until(lambda: not fleet.ledger().missing(load.ids), "the slow ones to be done")
    waits_for(lambda: fleet.lag() == 0, 5)
    fleet.stop_all()
    ledger = fleet.ledger()
    verdict.at_least("invocations in flight at the fault", busy, 1)
    budget = BUDGET[size]
    verdict.at_most("seconds until the partitions were let go", let_go, 0.75 * budget, f"s, of a budget of {budget:g}")
    verdict.equal("partitions committed up to the waiting event, and no further", sum(
        offset == before for offset in offsets.values()), partitions)  # fmt: skip
    verdict.equal("waiting events whose attempts the commits tell", sum(
        left.get(place) == used for place in places), partitions)  # fmt: skip
    owners: dict[int, tuple[str, int]] = {}
    once_more = [
        each
        for each in ledger.handlings
        if each.id in failing and owners.setdefault(each.id, (each.instance, each.epoch)) != (each.instance, each.epoch)
    ]
    verdict.equal("waiting events delivered again, with the next attempt first", sum(
        next((each.attempt for each in once_more if each.id == id_), 0) == 3 for id_ in failing), partitions)  # fmt: skip
    verdict.equal("waiting events never done", len(ledger.missing(failing)), 0)
    verdict.equal("events that were done, delivered again", ledger.repeated(), 0)
    verdict.equal("events behind the commits at the end", fleet.lag(), 0)


def waiting(fleet: Makes, fault: Fault, size: Size, mutant: str | None = None) -> Fleet:
    """A fleet whose failing events wait as the policy says, and succeed once the probe has seen enough."""
    return fleet(
        "retrying",
        mutant=mutant,
        environ={
            "FAULTS_SUCCEEDS": "3" if fault == "SIGTERM" else "4",
            "FAULTS_SLOW": str(LONG[size]),
            "DISPATCH_DRAIN": str(BUDGET[size]),
            "DISPATCH_KAFKA__SESSION_TIMEOUT": str(SESSION),
        },
    )


@pytest.mark.parametrize("fault", ["SIGTERM", "rebalance"])
def test_a_wait_is_cut_short_and_goes_on_elsewhere(fleet: Makes, verdict: Judges, size: Size, fault: Fault) -> None:
    """A waiting event holds the commit and nothing else; its successor makes the next attempt.

    The controls: an engine that commits past it, so that nobody ever gets it again, and a drain that takes it for one
    in flight, and uses up its budget.
    """
    row = WAITING.format(fault)
    judged, passing = verdict(row), verdict(row, "commit_past_parked")
    arms = [(judged, waiting(fleet, fault, size)), (passing, waiting(fleet, fault, size, passing.arm))]
    patient = None
    if fault == "SIGTERM" or size == "full":
        patient = verdict(row, "wait_out_backoff")
        arms.append((patient, waiting(fleet, fault, size, patient.arm)))
    side_by_side(*(partial(probe_waiting, under_test, arm, size, fault) for arm, under_test in arms))
    judged.must_hold()
    passing.must_break("partitions committed up to the waiting event, and no further")
    passing.must_break("waiting events never done")
    if patient is not None:
        patient.must_break("seconds until the partitions were let go")
