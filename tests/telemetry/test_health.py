"""When a process counts as alive, at the edges that a real one reaches seldom."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.counters import Histogram
from dispatcher.telemetry.health import Health
from dispatcher.telemetry.measures import Measures, Vitals

GRACE = 0.3


class Told:
    """A worker that is as the test says, and an event loop that is late as it says."""

    name = "handle"

    def __init__(self) -> None:
        self.state = Vitals(
            state="running", ended=0, in_flight=0, is_stalled=False, polled=None, timeout=0.0, drain=0.0
        )
        self.late = 0.0

    def vitals(self) -> Vitals:
        return self.state

    def measures(self) -> Measures:
        raise NotImplementedError

    def lag(self) -> float:
        return self.late


async def test_something_that_could_start_and_does_not_is_no_progress() -> None:
    """Nothing in flight and yet stuck: what could start is not started. The next invocation that ends makes it alive again."""
    told = Told()
    told.state = replace(told.state, is_stalled=True)
    async with Health([told], told, grace=GRACE) as health:
        assert health.live().ok
        await asyncio.sleep(3 * GRACE)
        assert not health.live().ok
        assert health.stuck()["handle"] > GRACE
        told.state, ended = replace(told.state, ended=1), time.monotonic()
        await asyncio.sleep(GRACE)
        assert health.stuck()["handle"] <= time.monotonic() - ended
        told.state = replace(told.state, is_stalled=False)
        await asyncio.sleep(GRACE)
        assert health.live().ok
        assert health.stuck() == {"handle": 0.0}


async def test_a_worker_that_asks_for_nothing_any_more_is_not_alive() -> None:
    """A poll that hangs holds no work, and is no life: past drain and grace it is told. Out of its group it has nothing to ask for."""
    told = Told()
    told.state = replace(told.state, polled=asyncio.get_running_loop().time())
    async with Health([told], told, grace=GRACE) as health:
        await asyncio.sleep(3 * GRACE)
        verdict = health.live()
        assert not verdict.ok
        assert "has not asked the broker for events" in verdict.checks[1].text
        told.state = replace(told.state, state="joining")
        await asyncio.sleep(GRACE)
        assert health.live().ok
        assert not health.ready().ok


@pytest.mark.parametrize(("late", "ok"), [(0.0, True), (GRACE, True), (GRACE + 0.01, False)])
async def test_a_late_loop_is_told_of_both(late: float, *, ok: bool) -> None:
    """Past the grace neither alive nor ready."""
    told = Told()
    async with Health([told], told, grace=GRACE) as health:
        told.late = late
        assert (health.live().ok, health.ready().ok) == (ok, ok)


@given(st.lists(st.floats(0, 1_000)), st.lists(st.floats(0.001, 500), min_size=1, max_size=20, unique=True).map(sorted))
def test_a_histogram_counts_each_value_in_its_bucket(values: list[float], bounds: list[float]) -> None:
    """Each value is in the first bucket whose upper end is not below it, as ``le`` means, and the sum is that of all."""
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)
    ends = [*bounds, float("inf")]
    below = [sum(value <= end for value in values) for end in ends]
    assert [sum(histogram.counts[: n + 1]) for n in range(len(ends))] == below
    assert histogram.total == pytest.approx(sum(values))
