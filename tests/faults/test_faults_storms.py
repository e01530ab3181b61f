"""Members join, leave, are killed and frozen at random while they work: everything is handled, hardly anything twice, in order.

The arms of a storm have the same seed, so that the dispatcher that is broken on purpose goes through what the whole one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from aftermath import Cause, judge_attempts, judge_delivery, judge_order
from fleet import Fleet
from ledger import Ledger
from storm import Feeder, Kind, Storm, Watch, schedule
from verdict import Verdict

Verdicts = Callable[..., Verdict]

SEED = 1
CHURN = "members join, leave, are killed at random; 80 partitions, 100,000 records, every 4,000th takes 45 s"
KEYS = 'the same under order="key", 2,251 keys'
KINDS: tuple[Kind, ...] = ("join", "terminate", "kill", "freeze")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a storm.

    ``still`` is how many seconds without a call mean that nothing more will come: longer than a slow event, and than a
    session. ``patience`` is the storm's.
    """

    records: int
    chunk: int
    reserve: int
    partitions: int
    keys: int
    members: int
    most: int
    disturbances: int
    after: tuple[float, float]
    freeze: tuple[float, float]
    session: float
    drain: float
    work_ms: float
    slow: float
    slow_every: int
    fail_every: int
    still: float
    patience: float

    def environ(self, order: str) -> dict[str, str]:
        """What the members are told."""
        return {
            "FAULTS_ORDER": order,
            "FAULTS_WORK": str(self.work_ms),
            "FAULTS_SLOW": str(self.slow),
            "FAULTS_SLOW_EVERY": str(self.slow_every),
            "FAULTS_FAIL_EVERY": str(self.fail_every),
            "DISPATCH_DRAIN": str(self.drain),
            "DISPATCH_KAFKA__SESSION_TIMEOUT": str(self.session),
        }


PLANS = {
    "smoke": Plan(
        records=3_000, chunk=1_500, reserve=1_500, partitions=8, keys=101, members=2, most=3,
        disturbances=4, after=(0.3, 0.8), freeze=(4.0, 4.5), session=3.0, drain=1.0,
        work_ms=20, slow=1.5, slow_every=100, fail_every=333, still=6.0, patience=6.0,
    ),
    "full": Plan(
        records=100_000, chunk=10_000, reserve=20_000, partitions=80, keys=2_251, members=4, most=6,
        disturbances=40, after=(0.5, 4.0), freeze=(2.0, 15.0), session=6.0, drain=5.0,
        work_ms=10, slow=45.0, slow_every=4_000, fail_every=0, still=75.0, patience=30.0,
    ),
}  # fmt: skip
MAX_ATTEMPTS = 3


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
        return Cause(self.storm.log, outlives_drain=lambda id_: is_every(self.plan.slow_every, id_, -1))

    def fails(self, id_: int) -> bool:
        """Whether it is an event that always fails."""
        return is_every(self.plan.fail_every, id_, self.plan.fail_every // 2)


def is_every(step: int, id_: int, place: int) -> bool:
    """Whether it is one of those that stand at that place in each ``step`` of them."""
    return step > 0 and id_ % step == place % step


def go_through(fleet: Fleet, plan: Plan, seed: int) -> Outcome:
    """One arm: members at work, the storm, and the quiet after it until nothing more comes."""
    fleet.create(plan.partitions)
    storm = Storm(
        fleet,
        schedule(seed, plan.disturbances, KINDS, after=plan.after, lasts=plan.freeze),
        least=2,
        most=plan.most,
        patience=plan.patience,
    )
    with Feeder(fleet, plan.records, plan.chunk, plan.reserve, plan.keys) as feeder:
        for _ in range(plan.members):
            fleet.start()
        storm.run()
    ids = range(feeder.sent)
    quiet(fleet, plan.still)
    fleet.stop_all()
    return Outcome(plan, storm, fleet.ledger(), ids)


def quiet(fleet: Fleet, still: float, patience: float = 300.0) -> None:
    """Return when all is committed, or no handler was called for that long."""
    watch, calls, since = Watch(fleet.folder), -1, time.monotonic()
    give_up = since + patience
    while time.monotonic() < give_up and time.monotonic() - since < still:
        if watch.look().calls != calls:
            calls, since = watch.calls, time.monotonic()
        elif fleet.lag() == 0:
            return
        time.sleep(0.5)


ARMS: dict[str, tuple[str, str | None]] = {
    "none": ("none", None),
    "key": ("key", None),
    "ignore_revoke": ("key", "ignore_revoke"),
    "commit_before_processing": ("none", "commit_before_processing"),
    "commit_highest": ("none", "commit_highest"),
    "forget_order": ("key", "forget_order"),
}


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, size: str
) -> Iterator[Callable[[str], Outcome]]:
    """What is left of each arm's storm. The whole dispatcher's run two at a time, then the broken ones' do."""
    full, plan = PLANS[size], PLANS["smoke"]
    fleets = []

    def run(arm: str) -> Outcome:
        order, mutant = ARMS[arm]
        chosen = plan if mutant else full
        fleet = Fleet(
            tmp_path_factory.mktemp(arm), kafka_bootstrap, "storm", mutant=mutant, environ=chosen.environ(order)
        )
        fleets.append(fleet)
        return go_through(fleet, chosen, SEED)

    with ThreadPoolExecutor(2) as pool:
        running = {arm: pool.submit(partial(run, arm)) for arm in ARMS}
        try:
            yield lambda arm: running[arm].result()
        finally:
            for each in running.values():
                each.cancel()
            for fleet in fleets:
                fleet.__exit__()


def probe_delivery(outcome: Outcome, verdict: Verdict) -> None:
    """Everything at least once, little twice, no standstill."""
    judge_delivery(outcome.storm, outcome.ledger, outcome.cause, verdict, outcome.ids, fails=outcome.fails)
    if outcome.plan.fail_every:
        failing = filter(outcome.fails, outcome.ids)
        judge_attempts(outcome.storm.fleet, outcome.ledger, outcome.cause, verdict, failing, MAX_ATTEMPTS)


def probe_order(outcome: Outcome, verdict: Verdict) -> None:
    """The same, and each key in its order."""
    probe_delivery(outcome, verdict)
    judge_order(outcome.ledger, verdict)


def test_a_storm_loses_nothing_and_repeats_little(outcomes: Callable[[str], Outcome], verdict: Verdicts) -> None:
    """At least once, precise offsets, rebalance: whoever joins, leaves, is frozen or killed at work, every event is handled,
    only what a kill or a freeze left uncommitted comes again, and the others go on."""
    result = verdict(CHURN)
    probe_delivery(outcomes("none"), result)
    result.must_hold()


def test_a_storm_keeps_the_order_of_each_key(outcomes: Callable[[str], Outcome], verdict: Verdicts) -> None:
    """Order: in every ownership of a key its events run one after another in offset order, and over all processes no event
    is done for the first time before the one ahead of it; nothing is lost or needlessly repeated for it."""
    result = verdict(KEYS)
    probe_order(outcomes("key"), result)
    result.must_hold()


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        ("ignore_revoke", "duplicates without a cause"),
        ("commit_before_processing", "missing"),
        ("commit_highest", "missing"),
    ],
)
def test_a_storm_finds_a_dispatcher_that_loses_or_repeats(
    outcomes: Callable[[str], Outcome], verdict: Verdicts, arm: str, what: str
) -> None:
    """In a storm of the same seed, one that ignores a revoke repeats without a cause, and one that commits what is not done loses it."""
    result = verdict(CHURN, arm)
    probe_delivery(outcomes(arm), result)
    result.must_break(what)


@pytest.mark.parametrize(
    ("arm", "name"), [("none", 'order="none"'), ("forget_order", "forget_order")], ids=["unordered", "forget_order"]
)
def test_a_storm_finds_a_dispatcher_without_order(
    outcomes: Callable[[str], Outcome], verdict: Verdicts, arm: str, name: str
) -> None:
    """In a storm of the same seed, an unordered function and a dispatcher that forgets lanes both run a key's events at one time."""
    result = verdict(KEYS, name)
    probe_order(outcomes(arm), result)
    result.must_break("overlaps in a window")
    result.must_break("first successes out of order")
