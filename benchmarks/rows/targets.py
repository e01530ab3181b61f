"""Functions behind a network: what the dispatcher adds to a request.

The bare clients read no log. What the reading is, the arm that does nothing else tells, and what the same is by hand, the one
that reads and posts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.arms.remote import CONCURRENCY
from benchmarks.bench import Bench, PythonArm, figure, ratio
from benchmarks.orders import KEYS
from benchmarks.stage import Stage

#: What the profile says of each size of a request, where its goal is missed.
NOTES = {
    1: (
        "The bare client posts bytes that it has; of what Dispatch adds, a fifth of the client's own CPU time, 0.9 us are reading the"
        " event, about 3 writing it as a CloudEvent, 1 the deadline of the request and about 7 the decisions of the core. Beside the"
        " same by hand, a loop that reads from Kafka and posts, little is left."
    ),
    100: (
        "A batch of 100 takes about 340 us of CPU: 80 to read it, 80 to 95 to write its body (a third of that to see that each value is JSON),"
        " 70 in the core, 75 to 100 in aiohttp. Bytes that are made before take only the last of these, so 85 % of that would leave"
        " 0.2 us an event for all the rest."
    ),
}


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """One log for all."""
    return {"bootstrap": stage.bootstrap, "stream": stage.log(given["events"], partitions=6, keys=KEYS)}


def http(batch: int, events: int) -> Bench:
    """Events posted in requests of so many."""
    what = "one event a request" if batch == 1 else f"batches of {batch}"
    return Bench(
        name=f"http.{batch}",
        question=f"HTTP target, {what}, {CONCURRENCY} requests at once, an endpoint on this machine that answers 204",
        arms=[
            PythonArm("bare aiohttp, bytes made before", "http_target:run_ready"),
            PythonArm("bare aiohttp, bytes made as it goes", "http_target:run_making"),
            PythonArm("Kafka loop and bare aiohttp", "http_target:run_loop"),
            PythonArm("Kafka loop alone", "http_target:run_reading"),
            PythonArm("dispatch", "http_target:run_dispatch"),
            PythonArm("dispatch in key order", "http_target:run_dispatch", {"order": "key"}),
        ],
        goals=[
            ratio("dispatch", "bare aiohttp, bytes made before", at_least=0.85),
            ratio("dispatch", "bare aiohttp, bytes made as it goes"),
            ratio("dispatch", "Kafka loop and bare aiohttp"),
            ratio("dispatch in key order", "Kafka loop and bare aiohttp"),
            figure("dispatch", "peak", what="requests in flight at one moment, dispatch"),
        ],
        full={"events": events, "batch": batch},
        quick={"events": 20 * batch * 10},
        prepare=prepare,
        packages=("aiohttp", "aiokafka", "pydantic"),
        note=NOTES[batch],
    )


def aws_lambda(delay: float) -> Bench:
    """Events sent one an invocation, to a function that takes so many seconds."""
    takes = f"{delay * 1000:g}"
    return Bench(
        name=f"lambda.{takes}ms",
        question=f"Lambda target, one event an invocation, {CONCURRENCY} at once, an Invoke API on this machine that takes {takes} ms",
        arms=[
            PythonArm("bare signed request", "lambda_target:run_signed", needs=["boto3"]),
            PythonArm("boto3 in threads", "lambda_target:run_boto3", needs=["boto3"]),
            PythonArm("dispatch", "lambda_target:run_dispatch", needs=["boto3"]),
        ],
        goals=[
            ratio("dispatch", "bare signed request", at_least=0.85),
            ratio("dispatch", "boto3 in threads"),
            figure("dispatch", "peak", what="invocations in flight at one moment, dispatch"),
        ],
        full={"events": 12_000, "delay": delay},
        quick={"events": 600},
        prepare=prepare,
        packages=("aiohttp", "aiokafka", "pydantic"),
    )


BENCHES = [http(1, 20_000), http(100, 300_000), aws_lambda(0.0), aws_lambda(0.02)]
