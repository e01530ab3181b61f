"""A local async function that does no work: what an event costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Goal, PythonArm, ratio
from benchmarks.orders import KEYS
from benchmarks.stage import Stage

#: Slower arms see the beginning of the same log: their rate is even, and a round stays short.
FULL, QUICK = {"events": 300_000}, {"events": 6_000}
SAME = "async function with no work, key order, real Kafka, 6 partitions, one process"


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """One log for all."""
    return {
        "bootstrap": stage.bootstrap,
        "stream": stage.log(given["events"], partitions=6, keys=KEYS),
    }


#: Made by scripts/bench.
QUIX = str(Path(__file__).parents[2] / ".venv" / "quix" / "bin" / "python")


def bench(name: str, question: str, goals: Sequence[Goal], **own: Any) -> Bench:
    """All arms with these arguments."""
    arms = [
        PythonArm("bare aiokafka", "bare_aiokafka:run", own),
        PythonArm("dispatch", "dispatch:run", own),
        PythonArm("bare confluent-kafka", "bare_confluent:run", own, needs=["confluent-kafka"]),
        PythonArm("FastStream", "faststream:run", own, needs=["faststream", "orjson"]),
    ]
    if not own:  # its functions take one event each, and what they get has no choice of types
        arms.append(PythonArm("Quix Streams", "quix:run", needs=["quixstreams", "confluent-kafka"], python=QUIX))
    return Bench(
        name=f"local.{name}",
        question=f"{question}; {SAME}",
        arms=arms,
        goals=[*goals, ratio("dispatch", "bare confluent-kafka")],
        full=FULL,
        quick=QUICK,
        prepare=prepare,
        packages=("aiokafka", "pydantic", "msgspec"),
    )


BENCHES = [
    bench(
        "one",
        "One event at a time, pydantic model",
        [
            ratio("dispatch", "bare aiokafka", at_least=0.75),
            ratio("dispatch", "FastStream", at_least=10.0),
            ratio("dispatch", "Quix Streams"),
        ],
    ),
    bench(
        "batch",
        "Batches of 500, pydantic model",
        [ratio("dispatch", "bare aiokafka", at_least=0.9), ratio("dispatch", "FastStream")],
        batch=500,
    ),
    *(
        bench(
            kind,
            f"One event at a time, {kind}",
            [ratio("dispatch", "bare aiokafka"), ratio("dispatch", "FastStream")],
            kind=kind,
        )
        for kind in ("dict", "bytes", "msgspec")
    ),
]
