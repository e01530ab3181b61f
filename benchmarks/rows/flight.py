"""Thousands of invocations in flight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, PythonArm, figure, ratio
from benchmarks.stage import Stage

#: So many that hardly two of those in flight share one: order holds none back.
KEYS = 100_003


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """One log for all."""
    return {"bootstrap": stage.bootstrap, "stream": stage.log(given["events"], partitions=6, keys=KEYS)}


BENCHES = [
    Bench(
        name="flight.callee",
        question="An async callee of 100 ms, concurrency 5,000: pydantic model, key order, 100,003 keys, real Kafka",
        arms=[
            PythonArm("asyncio", "flight:run_loop"),
            PythonArm("bare aiokafka", "flight:run_bare"),
            PythonArm("dispatch", "flight:run_dispatch"),
        ],
        goals=[
            # What concurrency / latency allows, or less where the loop has no time for more: the arm is bounded by both.
            ratio("dispatch", "asyncio", at_least=0.9),
            figure("dispatch", "peak", what="most in flight at once, of 5,000", at_least=5_000),
            ratio("bare aiokafka", "asyncio"),
        ],
        full={"events": 300_000, "concurrency": 5_000, "latency": 0.1},
        quick={"events": 20_000},
        prepare=prepare,
    ),
]
