"""The probe of silence: one server of three takes requests and answers none, while a backlog is worked off."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import find_coordinator, find_leaders
from fleet import Fleet
from kafka_server import KafkaCluster
from ledger import Ledger
from proxy import Proxy
from verdict import Verdict

__all__ = ["PARTITIONS", "RESUMES", "STALLS", "Silence", "fall_silent", "judge"]

PARTITIONS = 6
STALLS = "longest stall of a partition on another leader"
RESUMES = "its own partitions go on after they have a leader that answers"
_BEFORE = 3_000_000_000


@dataclass(frozen=True)
class Silence:
    """What happened, in the ledger's nanoseconds.

    Attributes:
        affected: by stream, the partitions that the server led.
        began: when it fell silent.
        answering: when all of its partitions had a leader that answers: the leadership moved, or it was back.
        ended: when the watch was over.
    """

    affected: dict[str, set[int]]
    began: int
    answering: int
    ended: int


def fall_silent(
    cluster: KafkaCluster,
    proxies: Sequence[Proxy],
    fleets: Sequence[Fleet],
    how: Literal["frozen", "dropped"],
    *,
    coordinator: bool,
    seconds: float,
    watch: float,
    after: float = 0.0,
) -> Silence:
    """Silence one server that leads partitions of all fleets.

    Args:
        cluster: of three servers.
        proxies: before each of them.
        fleets: whose streams are looked at; the leaders of the first one's tell when the leadership has moved.
        how: ``"frozen"`` with SIGSTOP, after which the others take its partitions over, or ``"dropped"``: nothing comes
            through to its clients, while the other servers reach it, so that it leads on.
        coordinator: whether it is to be the one that looks after the groups.
        seconds: how long.
        watch: seconds to look on once it is back.
        after: seconds that a frozen one stays so at least, once the leadership has moved.
    """
    coordinating = find_coordinator(cluster.nodes[0], f"{fleets[0].name}.handle")
    victim = next(node for node in cluster.nodes if (node.id == coordinating) is coordinator)
    witness = next(node for node in cluster.nodes if node is not victim)
    affected = {
        fleet.stream: {each for each, leader in find_leaders(witness, fleet.stream).items() if leader == victim.id}
        for fleet in fleets
    }
    assert all(affected.values()), "the server leads no partition"
    watched, moved = fleets[0].stream, 0
    began = time.monotonic_ns()
    if how == "frozen":
        victim.freeze()
    else:
        proxies[victim.id - 1].set("blackhole")
    try:
        while (now := time.monotonic_ns()) - began < seconds * 1e9 or (moved and now - moved < after * 1e9):
            if how == "frozen" and not moved:
                leaders = find_leaders(witness, watched)
                if not {leaders[each] for each in affected[watched]} & {victim.id, -1}:
                    moved = time.monotonic_ns()
            time.sleep(0.1)
    finally:
        victim.thaw()
        proxies[victim.id - 1].set("open")
    back = time.monotonic_ns()
    assert moved or how == "dropped", f"the leadership did not move in {seconds:g} s"
    time.sleep(watch)
    return Silence(affected, began, moved or back, time.monotonic_ns())


def judge(verdict: Verdict, fleet: Fleet, silence: Silence, *, resume: float) -> Verdict:
    """Judge a fleet that was stopped with a backlog left, by its ledger and its commits.

    Args:
        verdict: to be filled.
        fleet: one of those that :func:`fall_silent` looked at.
        silence: what it gave.
        resume: seconds in which the silent server's partitions have to go on.
    """
    ledger = fleet.ledger()
    began, ended = silence.began, silence.ended
    affected = silence.affected[fleet.stream]
    healthy = set(range(PARTITIONS)) - affected
    by_partition = {
        number: Ledger(each for each in ledger.handlings if each.partition == number) for number in range(PARTITIONS)
    }

    def stall(partitions: Iterable[int], begin: int, end: int) -> float:
        return max(by_partition[each].longest_silence(begin, end) for each in partitions)

    busy = sum(each.started < began and (each.ended is None or each.ended > began) for each in ledger.handlings)
    verdict.at_least("events in flight when it fell silent", busy, 1)
    verdict.at_least("events left at the end", fleet.lag(), 1)
    verdict.at_most(STALLS, stall(healthy, began, ended), 1, "s")
    verdict.observe("longest stall of any partition before", stall(range(PARTITIONS), began - _BEFORE, began), "s")
    verdict.observe("longest stall of its own partitions", stall(affected, began, ended), "s")
    verdict.at_most(RESUMES, max(_next(by_partition[each], silence.answering) for each in affected), resume, "s")
    done = {(each.partition, each.offset) for each in ledger.handlings if each.ok}
    committed = {(number, offset) for number, commit in fleet.commits().items() for offset in range(commit.offset)}
    verdict.equal("committed and not handled", len(committed - done), 0)
    verdict.equal("events of a key out of order", sum(ledger.order_violations()), 0)
    verdict.observe("handled", len(done))
    verdict.observe("handled again", ledger.repeated())
    return verdict


def _next(ledger: Ledger, instant: int) -> float:
    """Seconds from then on to the next event that was begun."""
    begun = [each.started for each in ledger.handlings if each.started > instant]
    return (min(begun) - instant) / 1e9 if begun else float("inf")
