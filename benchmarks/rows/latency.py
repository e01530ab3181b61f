"""How long an event takes to its function, and a batch to be closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, Goal, PythonArm, above, figure
from benchmarks.stage import Stage


def prepare(stage: Stage, _given: Mapping[str, Any]) -> dict[str, Any]:
    """A Kafka; each run makes a stream of its own."""
    return {"bootstrap": stage.bootstrap}


def off_by(arm: str) -> list[Goal]:
    """How far off a batch's wait is: late, without the time that the broker takes to hand its oldest event over, and with it; early."""
    return [
        Goal(
            what=f"{arm}: late by, 99th percentile, above a bare consumer's",
            value=lambda arms: arms[arm]["p99_late_ms"] - arms["bare aiokafka"]["p99_ms"],
            at_most=20.0,
            unit="ms",
        ),
        figure(arm, "p99_late_ms", what=f"{arm}: late by, 99th percentile, from produce on", unit="ms"),
        # From produce on: what the broker takes does not excuse a batch that closes too soon.
        figure(arm, "early_ms", what=f"{arm}: early by, at the most", at_most=20.0, unit="ms"),
    ]


BENCHES = [
    Bench(
        name="latency.start",
        question="From produce to the function's start, 1,000 events/s, no batching; real Kafka, producer in another process",
        arms=[PythonArm("bare aiokafka", "latency:run_bare"), PythonArm("dispatch", "latency:run_dispatch")],
        goals=[
            above("dispatch", "bare aiokafka", "p50_ms", what="median above the bare consumer's", at_most=3.0),
            above(
                "dispatch", "bare aiokafka", "p99_ms", what="99th percentile above the bare consumer's", at_most=15.0
            ),
        ],
        full={"rate": 1_000, "seconds": 15.0},
        quick={"seconds": 2.0},
        prepare=prepare,
    ),
    Bench(
        name="latency.linger",
        question="How long the oldest event of a batch waits that closes by its time alone, from produce on; 500 events/s, real Kafka",
        arms=[
            PythonArm("bare aiokafka", "latency:run_bare"),
            PythonArm("100 ms", "latency:run_linger", {"policy": 0.1, "functions": 2}),
            PythonArm("500 ms", "latency:run_linger", {"policy": 0.5, "functions": 8}),
        ],
        goals=[goal for arm in ("100 ms", "500 ms") for goal in off_by(arm)],
        full={"rate": 500, "seconds": 20.0},
        quick={"seconds": 3.0},
        prepare=prepare,
    ),
]
