"""Many events in flight at once, in key order, beside Confluent's Parallel Consumer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bench import Bench, PythonArm, figure, ratio
from benchmarks.java_arm import JavaArm
from benchmarks.stage import Stage

#: Its jars, and what the arm decodes JSON with.
ENDPOINT = (
    "io.confluent.parallelconsumer:parallel-consumer-core:0.5.3.3"
    "+com.fasterxml.jackson.core:jackson-databind:2.19.0+org.slf4j:slf4j-simple:1.7.36"
)
CONCURRENCY = 100
#: Events with no work that the JVM goes through before its clock runs: what the service of a day has long behind it.
WARMING = 20_000
DISTINCT = 300_000
#: What is seen where a goal is missed, by the number of keys.
NOTES = {
    1: (
        "With one key the events run one after another, and nearly all of the time is their own waiting: asyncio alone, with no log, no"
        " order and no commits, takes 98.5 % of Dispatch's time and is 1.08 times as fast as Parallel Consumer. 1.1 is past what an event"
        " loop's timers leave; what Dispatch adds is 33 us of CPU time an event, where Parallel Consumer takes 281 in all."
    ),
}


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """One log for both."""
    return {
        "bootstrap": stage.bootstrap,
        "stream": stage.log(given["events"], partitions=given["partitions"], keys=given["keys"]),
    }


def parallel_consumer(work: str) -> JavaArm:
    """Key order and so many at once; all else as it comes."""

    def arguments(given: Mapping[str, Any]) -> Sequence[str]:
        places = (given["bootstrap"], given["stream"], given["events"], given["concurrency"])
        return [*map(str, places), work, str(given["warming"])]

    return JavaArm("Parallel Consumer", "ParallelConsumerArm", ENDPOINT, arguments)


def keyed(keys: int) -> Bench:
    """10,000 events that take 0 to 5 ms each, from one partition."""
    return Bench(
        name=f"parallel.{keys}",
        question=f"10,000 events of 0-5 ms async work, one partition, concurrency {CONCURRENCY}, {keys:,} keys",
        arms=[
            PythonArm("dispatch", "dispatch:run_working"),
            parallel_consumer("work"),
            PythonArm("asyncio alone", "alone:run"),
        ],
        goals=[
            ratio("dispatch", "Parallel Consumer", at_least=1.1),
            ratio("dispatch", "asyncio alone"),
            figure("dispatch", "peak", what="in flight at one moment, dispatch", at_least=0.9 * min(keys, CONCURRENCY)),
        ],
        full={"events": 10_000, "partitions": 1, "keys": keys, "concurrency": CONCURRENCY, "warming": WARMING},
        quick={"events": 300, "warming": 0},
        prepare=prepare,
        note=NOTES.get(keys, ""),
    )


BENCHES = [
    *map(keyed, (1, 10, 100, 10_000)),
    Bench(
        name="parallel.distinct",
        question=f"{DISTINCT:,} events with no work, each with a key of its own, 8 partitions, concurrency {CONCURRENCY}",
        arms=[PythonArm("dispatch", "dispatch:run_distinct"), parallel_consumer("none")],
        goals=[ratio("dispatch", "Parallel Consumer", at_least=5.0)],
        full={"events": DISTINCT, "partitions": 8, "keys": DISTINCT, "concurrency": CONCURRENCY, "warming": WARMING},
        quick={"events": 8_000, "keys": 8_000, "warming": 0},
        prepare=prepare,
    ),
]
