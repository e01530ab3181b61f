"""What an event costs as everything around it grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, PythonArm, figure, spread
from benchmarks.orders import KEYS
from benchmarks.stage import Stage

#: The goal of them all: an event's CPU time at the largest, against that at the smallest.
MOST = 2.0
PARTITIONS = (1, 10, 100, 500)
KEY_COUNTS = (10, 1_000, 100_000, 1_000_000)
FUNCTIONS = (1, 10, 50, 200)
HOLES = (1, 100, 1_000, 10_000)
WHOLE = "a worker on real Kafka, pydantic model, no work, key order"


def logs_of_partitions(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """A log for each number of partitions."""
    return {"bootstrap": stage.bootstrap} | {
        "streams": {str(each): stage.log(given["events"], partitions=each, keys=KEYS) for each in PARTITIONS}
    }


def logs_of_keys(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """A log for each number of keys."""
    return {"bootstrap": stage.bootstrap} | {
        "streams": {str(each): stage.log(given["events"], partitions=6, keys=each) for each in KEY_COUNTS}
    }


def only_kafka(stage: Stage, _given: Mapping[str, Any]) -> dict[str, Any]:
    """A Kafka; each run makes a stream of its own, and fills it when all have joined."""
    return {"bootstrap": stage.bootstrap}


def logs_with_holes(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """A log of one partition for each number of holes: twice as many events for them, and then those that count."""
    logs = {}
    for each in HOLES:
        total = given["events"] + 2 * each
        logs[str(each)] = stage.log(total, partitions=1, keys=total)
    return {"bootstrap": stage.bootstrap, "streams": logs}


BENCHES = [
    Bench(
        name="growth.partitions",
        question=f"An event's CPU time with 1 to 500 partitions; {WHOLE}",
        arms=[
            *(
                PythonArm(f"{each} partitions", "growth:run_log", {"which": str(each), "arm": "dispatch"})
                for each in PARTITIONS
            ),
            *(
                PythonArm(f"bare, {each} partitions", "growth:run_log", {"which": str(each), "arm": "bare"})
                for each in (1, 500)
            ),
        ],
        goals=[
            spread([f"{each} partitions" for each in PARTITIONS], "cpu_us", at_most=MOST),
            spread(["bare, 1 partitions", "bare, 500 partitions"], "cpu_us", what="the same of a bare aiokafka loop"),
        ],
        full={"events": 300_000},
        quick={"events": 6_000},
        prepare=logs_of_partitions,
    ),
    Bench(
        name="growth.keys",
        question=f"An event's CPU time with 10 to 1,000,000 keys; {WHOLE}, 6 partitions",
        arms=[
            PythonArm(f"{each:,} keys", "growth:run_log", {"which": str(each), "arm": "dispatch"})
            for each in KEY_COUNTS
        ],
        goals=[spread([f"{each:,} keys" for each in KEY_COUNTS], "cpu_us", at_most=MOST)],
        full={"events": 1_000_000},
        quick={"events": 6_000},
        prepare=logs_of_keys,
    ),
    Bench(
        name="growth.functions",
        question=f"An event's CPU time with 1 to 200 functions in one process, as many deliveries in all; {WHOLE}",
        arms=[PythonArm(f"{each} functions", "growth:run_functions", {"functions": each}) for each in FUNCTIONS],
        goals=[
            spread([f"{each} functions" for each in FUNCTIONS], "cpu_us", at_most=MOST),
            figure(
                "200 functions", "idle_percent", what="of a core, by 200 functions that have nothing to do", unit="%"
            ),
        ],
        full={"events": 400_000},
        quick={"events": 6_000},
        prepare=only_kafka,
    ),
    Bench(
        name="growth.holes",
        question=f"An event's CPU time with 1 to 10,000 events before it in its partition, every other one, that are not done; {WHOLE}",
        arms=[PythonArm(f"{each:,} holes", "growth:run_holes", {"holes": each}) for each in HOLES],
        goals=[spread([f"{each:,} holes" for each in HOLES], "cpu_us", at_most=MOST)],
        full={"events": 300_000},
        quick={"events": 6_000},
        prepare=logs_with_holes,
    ),
    Bench(
        name="growth.core",
        question="The same of the scheduler alone, with nothing of a broker, an event loop or decoding in it",
        arms=[
            PythonArm("1 partition", "core:run"),
            PythonArm("500 partitions", "core:run", {"partitions": 500}),
            PythonArm("10 keys", "core:run", {"keys": 10}),
            PythonArm("1,000,000 keys", "core:run", {"keys": 1_000_000}),
            PythonArm("10,000 holes beside", "core:run", {"holes": 10_000}),
            PythonArm("10,000 holes within", "core:run", {"holes": 10_000, "within": True}),
        ],
        goals=[
            spread(["1 partition", "500 partitions"], "cpu_us", what="500 partitions / 1", at_most=MOST),
            spread(["10 keys", "1,000,000 keys"], "cpu_us", what="1,000,000 keys / 10", at_most=MOST),
            spread(
                ["1 partition", "10,000 holes beside"],
                "cpu_us",
                what="10,000 holes in another partition / 0",
                at_most=MOST,
            ),
            # Their map is made anew for each 2,000 events; of the whole way of an event it is less than half.
            spread(["1 partition", "10,000 holes within"], "cpu_us", what="10,000 holes in the same partition / 0"),
        ],
        full={"events": 1_000_000},
        quick={"events": 20_000},
        packages=("pydantic",),
    ),
]
