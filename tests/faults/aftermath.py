"""What a storm left behind: which repetitions its faults explain, and what of the promises is broken.

**Repetitions.** An event comes again only if its first owner could not tell the broker that it was done. That is so for

* what a ``kill -9`` (or a freeze past the session timeout, or a broker that was away) cut off, and what was done within
  the last ``commit_interval`` before it: the commit that would have told of it was not made;
* what a frozen member does after it is thawed and before it hears that it has been put out of its group;
* what runs longer than the drain budget when its partition is taken away.

Anything else that comes again is a repetition *without a cause*, and there may be none: joins, SIGTERM and rebalances
repeat nothing that ends within the budget. And whatever comes again, one process never runs it twice at a time.

**Attempts.** They are counted in the same commits. So an event has at most ``max_attempts`` calls besides those that such a
fault cut off or made forgotten, and those that outlived the drain and were let go before they failed; nothing else, no
rebalance above all, gives it another one. No call's attempt number is ever above ``max_attempts``.

**Order.** In an ownership window (instance, epoch, partition, key) offsets ascend and no two handlers overlap. Between
owners, what is cut off comes again, and a frozen owner may overlap its successor; but a key's next event begins only when
the one before was done somewhere, so that the *first successes* of a key come in the order in which its events were sent,
over all processes and under every fault here. That is judged too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from fleet import Fleet
from ledger import Handling, Ledger
from storm import UNGRACEFUL, Disturbance, Storm
from verdict import Verdict

__all__ = ["Cause", "judge_attempts", "judge_delivery", "judge_order", "repetitions", "silence"]

_NS = 1_000_000_000
#: How long an interval and its commit may take on a busy machine beyond what is set, and a thawed or cut off member to
#: hear that it has been put out, in seconds.
_COMMIT_GRACE, _OUTCAST_GRACE = 1.5, 3.0
#: Seconds after the broker is back until all members are in their group again.
_RECOVERY = 30.0


@dataclass(frozen=True)
class Cause:
    """What explains that an event comes again.

    Args:
        log: the storm's.
        commit_interval: seconds.
        outlives_drain: whether an event runs longer than the drain budget.
    """

    log: Sequence[Disturbance]
    commit_interval: float = 0.5
    outlives_drain: Callable[[int], bool] = lambda _: False

    def of(self, earlier: Handling, later: Handling) -> bool:
        """Whether there is one for ``later``, though ``earlier`` had begun."""
        return self.outlives_drain(earlier.id) or self.forgot(earlier) or self.is_outcast(later)

    def forgot(self, handling: Handling) -> bool:
        """Whether a fault kept its owner from committing what came of it."""
        for each in self.log:
            if each.kind in UNGRACEFUL and each.member in ("", handling.instance):
                begin = each.at - int((self.commit_interval + _COMMIT_GRACE) * _NS)
                if handling.started <= self._end(each) and (handling.ended is None or handling.ended >= begin):
                    return True
        return False

    def is_outcast(self, handling: Handling) -> bool:
        """Whether its owner was frozen, or cut off from the broker, and may not have known what others did meanwhile."""
        return any(
            each.kind in ("freeze", "outage")
            and each.member in ("", handling.instance)
            and each.at <= handling.started <= self._end(each)
            for each in self.log
        )

    def was_let_go(self, handling: Handling) -> bool:
        """Whether it outlived the drain and was ended at a rebalance or a stop: nobody can say what would have become of it."""
        return self.outlives_drain(handling.id) and handling.outcome in ("CancelledError", "cut off")

    @staticmethod
    def _end(each: Disturbance) -> int:
        after = {"kill": 0.0, "freeze": _OUTCAST_GRACE, "outage": _RECOVERY}[each.kind]
        return each.until + int(after * _NS)


def repetitions(ledger: Ledger) -> list[tuple[Handling, Handling]]:
    """Pairs (earlier, later) of calls for one event, the earlier not a failure that was tried again."""
    by_id: dict[int, list[Handling]] = defaultdict(list)
    for each in ledger.handlings:
        by_id[each.id].append(each)
    return [
        (earlier, later)
        for calls in by_id.values()
        if len(calls) > 1
        for earlier, later in combinations(calls, 2)
        if earlier.ended is None or earlier.ok or earlier.ended > later.started
    ]


def judge_delivery(
    storm: Storm, ledger: Ledger, cause: Cause, verdict: Verdict, ids: Iterable[int], *, fails: Callable[[int], bool]
) -> None:
    """Every event at least once, and hardly any twice; always somebody at work; all of it committed at the end."""
    expected = [id_ for id_ in ids if not fails(id_)]
    verdict.equal("missing", len(ledger.missing(expected)), 0)
    pairs = repetitions(ledger)
    duplicates = len({id(later) for _, later in pairs})
    verdict.at_most("duplicates a disturbance", duplicates / max(1, len(storm.log)), 1_000)
    verdict.equal("duplicates without a cause", len({id(b) for a, b in pairs if not cause.of(a, b)}), 0)
    verdict.equal("at one time in one process", len({id(b) for a, b in pairs if _overlap(a, b)}), 0)
    away = max(((each.until - each.at) / _NS for each in storm.log if each.kind == "outage"), default=0.0)
    silent = silence(ledger, expected, is_slow=cause.outlives_drain)
    verdict.at_most("longest silence with 500 left", silent, round(30 + away), "s")
    verdict.equal("uncommitted at the end", storm.fleet.lag(), 0)
    verdict.equal("members that crashed", len(storm.crashed()), 0)
    busy = sum(each.in_flight > 0 for each in storm.log)
    verdict.at_least("disturbances of busy members", busy / max(1, len(storm.log)), 0.8)
    verdict.observe("disturbances", len(storm.log))
    verdict.observe("duplicates", duplicates)
    verdict.observe("calls", len(ledger))


def judge_order(ledger: Ledger, verdict: Verdict) -> None:
    """Each key's events in their order."""
    descents, overlaps = ledger.order_violations()
    verdict.equal("descents in a window", descents, 0)
    verdict.equal("overlaps in a window", overlaps, 0)
    verdict.equal("first successes out of order", ledger.sequence_violations(), 0)


def judge_attempts(
    fleet: Fleet, ledger: Ledger, cause: Cause, verdict: Verdict, failing: Iterable[int], max_attempts: int
) -> None:
    """Events that always fail: no more attempts than they may have, then the dead letters; and nobody else goes there."""
    failing = set(failing)
    charged: dict[int, int] = defaultdict(int)
    highest = 0
    for each in ledger.handlings:
        if each.id in failing:
            charged[each.id] += not (cause.forgot(each) or cause.is_outcast(each) or cause.was_let_go(each))
            highest = max(highest, each.attempt)
    verdict.at_most("highest attempt number", highest, max_attempts)
    verdict.at_most("attempts that no fault made forgotten", max(charged.values(), default=0), max_attempts)
    dead = {int((record.value or b"").split(b" ", 1)[0]) for record in fleet.records(f"{fleet.stream}.handle.dead")}
    verdict.equal("failing events without a dead letter", len(failing - dead), 0)
    verdict.equal("dead letters of other events", len(dead - failing), 0)


def _overlap(earlier: Handling, later: Handling) -> bool:
    """Whether one process ran both at once: what it lets go of it must end, since it may be handed the same again."""
    return earlier.instance == later.instance and (earlier.ended is None or earlier.ended > later.started)


def silence(ledger: Ledger, expected: Sequence[int], *, is_slow: Callable[[int], bool]) -> float:
    """Seconds of the longest span with no completion, from the first call until 500 events are left.

    A span in which nothing but slow events could run is the workload's and not counted: under key order the last
    hundreds may all stand behind a slow one of their key. An event without a key stands behind none.
    """
    first: dict[int, Handling] = {}
    for each in ledger.handlings:
        if each.ok and each.ended is not None and (each.id not in first or each.ended < (first[each.id].ended or 0)):
            first[each.id] = each
    if not first:
        return float("inf")
    done = sorted(each.ended for each in first.values() if each.ended is not None)
    left = len(expected) - 500
    # With more than 500 that never were done, silence lasts until the last call.
    end = done[left - 1] if 0 < left <= len(done) else ledger.handlings[-1].started
    moments = [ledger.handlings[0].started, *(moment for moment in done if moment < end), end]
    spans = sorted(((after - before, before) for before, after in pairwise(moments)), reverse=True)
    never = set(expected) - first.keys()
    for span, begin in spans:
        heads: dict[object, Handling] = {}
        for each in first.values():
            if each.ended is None or each.ended <= begin:
                continue
            lane = each.id if each.key == "-" else each.key
            if lane not in heads or each.sequence < heads[lane].sequence:
                heads[lane] = each
        if never or any(not is_slow(head.id) for head in heads.values()):
            return span / _NS
    return 0.0
