"""Members join, leave, are killed and frozen at random while they work: everything is handled, hardly anything twice, in order.

The arms of a storm have the same seed, so that the dispatcher that is broken on purpose goes through what the whole one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from aftermath import repetitions
from fleet import Fleet
from storm import Kind
from tempest import Outcome, Plan, go_through, probe_delivery, probe_order
from verdict import Verdict

Verdicts = Callable[..., Verdict]

SEED = 1
CHURN = "members join, leave, are killed at random; 80 partitions, 100,000 records, every 4,000th takes 45 s"
KEYS = 'the same under order="key", 2,251 keys'
KINDS: tuple[Kind, ...] = ("join", "terminate", "kill", "freeze")

PLANS = {
    "smoke": Plan(
        records=3_000, chunk=1_500, reserve=1_500, partitions=8, keys=101, members=2, most=3, kinds=KINDS,
        disturbances=4, after=(0.0, 0.2), lasts=(4.0, 4.5), session=3.0, drain=1.0,
        work_ms=20, slow=1.5, slow_every=50, fail_every=333, still=6.0, patience=15.0, steady=1.0,
    ),
    "full": Plan(
        records=100_000, chunk=10_000, reserve=20_000, partitions=80, keys=2_251, members=4, most=6, kinds=KINDS,
        disturbances=40, after=(0.5, 4.0), lasts=(2.0, 15.0), session=6.0, drain=5.0,
        work_ms=10, slow=45.0, slow_every=4_000, fail_every=0, still=75.0, patience=30.0,
    ),
}  # fmt: skip
#: Arm -> order and mutant. The broken ones show themselves in the small storm, whatever the size.
ARMS: dict[str, tuple[str, str | None]] = {
    "none": ("none", None),
    "key": ("key", None),
    "ignore_revoke": ("key", "ignore_revoke"),
    "commit_before_processing": ("none", "commit_before_processing"),
    "commit_highest": ("none", "commit_highest"),
    "forget_order": ("key", "forget_order"),
}
#: What a broken one has shown at once, without the rest of the storm.
ENOUGH: dict[str, Callable[[Outcome], bool]] = {
    "forget_order": lambda it: it.ledger.order_violations()[1] > 0 and it.ledger.sequence_violations() > 0,
    "ignore_revoke": lambda it: any(not it.cause.of(*pair) for pair in repetitions(it.ledger)),
}


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, size: str
) -> Iterator[Callable[[str], Outcome]]:
    """What is left of each arm's storm; three of them at a time, those of the whole dispatcher first."""
    fleets: list[Fleet] = []

    def run(arm: str) -> Outcome:
        order, mutant = ARMS[arm]
        plan = PLANS["smoke" if mutant else size]
        fleet = Fleet(
            tmp_path_factory.mktemp(arm), kafka_bootstrap, "storm", mutant=mutant, environ=plan.environ(order)
        )
        fleets.append(fleet)
        return go_through(fleet, plan, SEED, enough=ENOUGH.get(arm, lambda _: False))

    with ThreadPoolExecutor(3) as pool:
        running = {arm: pool.submit(partial(run, arm)) for arm in ARMS}
        try:
            yield lambda arm: running[arm].result()
        finally:
            for each in running.values():
                each.cancel()
            for fleet in fleets:
                fleet.__exit__()


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
