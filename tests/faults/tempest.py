"""A storm from its plan to its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aftermath import Cause, judge_attempts, judge_delivery, judge_order
from fleet import Fleet
from ledger import Ledger
from storm import Feeder, Kind, Server, Storm, Watch, schedule
from verdict import Verdict

from dispatcher.errors import BrokerError

__all__ = ["Outcome", "Plan", "go_through", "probe_delivery", "probe_order"]

_MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a storm. Times are seconds.

    Args:
        records: sent in all, at least.
        chunk: sent at once.
        reserve: uncommitted events that the storm is kept supplied with.
        partitions: of the stream.
        keys: of the records, in turn.
        members: that the storm begins with; two are always left.
        most: members at most.
        kinds: what happens.
        disturbances: how often something happens.
        after: the pause between two, from and to.
        lasts: a freeze and an outage, from and to.
        session: the members' session timeout.
        drain: their drain budget.
        work_ms: milliseconds that a handler takes.
        slow: what each ``slow_every``-th takes, more than ``drain``.
        fail_every: each so manieth fails always; none for 0.
        still: with no call for so long, nothing more comes: more than ``slow``, and than ``session``.
        patience: what a disturbance waits for somebody to be at work.
        steady: how long its victim has been at work by then.
    """

    records: int
    chunk: int
    reserve: int
    partitions: int
    keys: int
    members: int
    most: int
    kinds: tuple[Kind, ...]
    disturbances: int
    after: tuple[float, float]
    lasts: tuple[float, float]
    session: float
    drain: float
    work_ms: float
    slow: float
    slow_every: int
    fail_every: int
    still: float
    patience: float
    steady: float = 0.0

    def environ(self, order: str) -> dict[str, str]:
        """What the members are told."""
        return {
            "FAULTS_ORDER": order,
            "FAULTS_WORK": str(self.work_ms),
            "FAULTS_SLOW": str(self.slow),
            "FAULTS_SLOW_EVERY": str(self.slow_every),
            "FAULTS_FAIL_EVERY": str(self.fail_every),
            "FAULTS_MAX_ATTEMPTS": str(_MAX_ATTEMPTS),
            "DISPATCH_DRAIN": str(self.drain),
            "DISPATCH_KAFKA__SESSION_TIMEOUT": str(self.session),
        }

    def is_slow(self, id_: int) -> bool:
        """Whether the event outlives the drain budget."""
        return self.slow_every > 0 and id_ % self.slow_every == self.slow_every - 1

    def fails(self, id_: int) -> bool:
        """Whether the event fails always."""
        return self.fail_every > 0 and id_ % self.fail_every == self.fail_every // 2


@dataclass(frozen=True)
class Outcome:
    """What is left of a storm."""

    plan: Plan
    storm: Storm
    ledger: Ledger
    ids: range

    @property
    def cause(self) -> Cause:
        """What explains a repetition in it."""
        return Cause(self.storm.log, outlives_drain=self.plan.is_slow)


def go_through(
    fleet: Fleet,
    plan: Plan,
    seed: int,
    *,
    server: Server | None = None,
    enough: Callable[[Outcome], bool] = lambda _: False,
) -> Outcome:
    """Members at work, the storm, and the quiet after it until nothing more comes.

    Args:
        fleet: new.
        plan: of the storm.
        seed: of its disturbances.
        server: what outages kill.
        enough: asked before each disturbance; none comes any more once this is so. For a control that has shown itself.
    """
    fleet.create(plan.partitions)
    storm = Storm(
        fleet,
        schedule(seed, plan.disturbances, plan.kinds, after=plan.after, lasts=plan.lasts),
        most=plan.most,
        patience=plan.patience,
        steady=plan.steady,
        server=server,
    )
    with Feeder(fleet, plan.records, plan.chunk, plan.reserve, plan.keys, storm.outage) as feeder:
        for _ in range(plan.members):
            fleet.start()
        storm.run(lambda: enough(Outcome(plan, storm, fleet.ledger(), range(feeder.sent))))
    _wait_until_quiet(fleet, plan.still)
    fleet.stop_all()
    return Outcome(plan, storm, fleet.ledger(), range(feeder.sent))


def probe_delivery(outcome: Outcome, verdict: Verdict) -> None:
    """Everything at least once, little twice, no standstill, no attempt too many."""
    plan = outcome.plan
    judge_delivery(outcome.storm, outcome.ledger, outcome.cause, verdict, outcome.ids, fails=plan.fails)
    if plan.fail_every:
        failing = [id_ for id_ in outcome.ids if plan.fails(id_)]
        judge_attempts(outcome.storm.fleet, outcome.ledger, outcome.cause, verdict, failing, _MAX_ATTEMPTS)


def probe_order(outcome: Outcome, verdict: Verdict) -> None:
    """The same, and each key in its order."""
    probe_delivery(outcome, verdict)
    judge_order(outcome.ledger, verdict)


def _wait_until_quiet(fleet: Fleet, still: float, patience: float = 300.0) -> None:
    """Return when all is committed, or no handler was called for ``still`` seconds."""
    watch, calls, since = Watch(fleet.folder), -1, time.monotonic()
    give_up = since + patience
    while time.monotonic() < give_up and time.monotonic() - since < still:
        if watch.look().calls != calls:
            calls, since = watch.calls, time.monotonic()
        else:
            try:
                if fleet.lag() == 0:
                    return
            except BrokerError:
                pass  # just come back from an outage
        time.sleep(0.5)
