"""How fast the target ``aws_lambda`` is against a bare aiohttp client that signs and posts the same bytes, and against boto3.

64 invocations at once over kept connections, to an Invoke API in a process of its own that answers what our host in a
function answers, at once or after 20 ms; events of one an invocation. Three arms: a whole worker, fed from memory, that takes events
into lanes, makes the payloads, signs, judges the answers and commits; a bare client whose payloads are made beforehand, which
signs with the same signer and does nothing but post; and boto3 in 64 threads, as its documentation has it, with its own
repetitions turned off. The arms run in processes of their own, in turn, so that a drift of the machine meets all; what counts is the
ratio.

    python benchmarks/lambda_target.py [--requests 6000] [--runs 5] [--json FILE]

The seconds are the server's, from the first request to the last; the CPU time is the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import platform
import pstats
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
from http_target import CONCURRENCY, STREAM, binding_of, records_of, value_of
from yarl import URL

from bindings.envelopes import aws_kafka
from bindings.envelopes.reply import MEDIA_TYPE, document_of
from bindings.invocation import Reply
from dispatcher.brokers.base import StreamInfo
from dispatcher.config import Settings
from dispatcher.config.targets import AwsLambdaTarget
from dispatcher.core.record import Outgoing
from dispatcher.invokers.aws_lambda.invoker import LambdaInvoker
from dispatcher.invokers.aws_lambda.signing import CredentialsChain, SigV4
from dispatcher.server import tune_garbage_collector
from dispatcher.testing.memory import MemoryBroker
from dispatcher.worker import Worker

REGION, FUNCTION = "eu-west-1", "elsewhere"
KEYS = 2251
DELAYS = (0.0, 0.02)
#: What a decorated function in our Lambda host answers when all went well.
ANSWER = json.dumps({"batchItemFailures": [], "dispatch": document_of(Reply())}).encode()
HEADERS = {
    "content-type": "application/json",
    "user-agent": "dispatch-runtime",
    "x-amz-invocation-type": "RequestResponse",
}
CONTEXT = {"custom": {"accept": MEDIA_TYPE, "dispatch-attempt": "1", "dispatch-function": "elsewhere"}}


# -- the Invoke API


class Answering(asyncio.Protocol):
    """Answers every invocation, after a delay; knows no more of HTTP than where a request ends."""

    delay = 0.0
    first = last = 0.0
    count = 0

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            if head.startswith(b"get "):
                said = json.dumps({"seconds": Answering.last - Answering.first, "count": Answering.count}).encode()
                self._write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said))
                self._transport.close()
                return
            length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            Answering.last = time.perf_counter()
            Answering.first = Answering.first or Answering.last
            Answering.count += 1
            said = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amzn-requestid: 1\r\nx-amz-executed-version: $LATEST\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
            )
            if Answering.delay:
                asyncio.get_running_loop().call_later(Answering.delay, self._write, said)
            else:
                self._write(said)

    def _write(self, said: bytes) -> None:
        self._transport.write(said)


async def serve(delay: float) -> None:
    """Serve until the process is ended; the port is the first line of what it prints."""
    Answering.delay = delay
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def serving(delay: float) -> Iterator[str]:
    """A server in a process of its own."""
    words = [sys.executable, __file__, "--serve", "--delay", str(delay)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


# -- the arms


def payloads_of(requests: int) -> list[bytes]:
    """The payloads, byte for byte as the dispatcher makes them."""
    return [aws_kafka.encode([record]) for record in records_of(requests)]


async def run_bare(url: str, requests: int) -> float:
    """Sign and post payloads that are made already, 64 at once; gives the CPU seconds."""
    left = iter(payloads_of(requests))
    place = URL(f"{url}/2015-03-31/functions/{FUNCTION}/invocations")
    context = b64encode(json.dumps(CONTEXT).encode()).decode("ascii")
    signer = SigV4(REGION, "lambda", CredentialsChain())
    headers = {**HEADERS, "x-amz-client-context": context}

    async def post(session: aiohttp.ClientSession) -> None:
        for payload in left:
            signature = await signer.sign("POST", place, headers, payload)
            async with session.post(place, data=payload, headers={**headers, **signature}) as response:
                assert await response.read() == ANSWER

    tune_garbage_collector()
    await CredentialsChain().get()  # the import of the SDK, which is no part of an invocation
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        began = time.process_time()
        await asyncio.gather(*(post(session) for _ in range(CONCURRENCY)))
        return time.process_time() - began


async def run_boto3(url: str, requests: int) -> float:
    """The same by boto3, in as many threads; gives the CPU seconds."""
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=CONCURRENCY, retries={"total_max_attempts": 1}, read_timeout=60)
    client = boto3.client("lambda", region_name=REGION, endpoint_url=url, config=config)
    context = b64encode(json.dumps(CONTEXT).encode()).decode("ascii")

    def invoke(payload: bytes) -> None:
        came = client.invoke(FunctionName=FUNCTION, Payload=payload, ClientContext=context)
        assert came["Payload"].read() == ANSWER

    payloads = payloads_of(requests)
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        began = time.process_time()
        list(threads.map(invoke, payloads))
        return time.process_time() - began


async def run_dispatch(url: str, requests: int) -> float:
    """A worker and its target, to the end of the log; gives the CPU seconds."""
    async with MemoryBroker() as broker:
        await broker.create_stream(StreamInfo(name=STREAM, partitions=1))
        producer = await broker.producer()
        for number in range(requests):
            await producer.send(Outgoing(topic=STREAM, key=str(number % KEYS).encode(), value=value_of(number)))
        binding = binding_of(1)
        invoker = LambdaInvoker(
            binding, AwsLambdaTarget(type="aws_lambda", function=FUNCTION, region=REGION, endpoint_url=url)
        )
        worker = Worker(binding, broker, app="bench", settings=Settings(), until_caught_up=True, invoker=invoker)
        tune_garbage_collector()  # as `dispatch run` does
        await CredentialsChain().get()
        began = time.process_time()
        await worker.run()
        spent = time.process_time() - began
        if worker.statistics().done != requests:
            raise SystemExit(f"not all was delivered: {worker.statistics()}")
        return spent


ARMS = {"bare": run_bare, "boto3": run_boto3, "dispatch": run_dispatch}


def run_arm(arm: str, delay: float, requests: int) -> dict[str, float]:
    """One run of an arm in a process of its own, against a server of its own."""
    with serving(delay) as url:
        words = [sys.executable, __file__, "--arm", arm, "--url", url, "--requests", str(requests)]
        keys = {"AWS_ACCESS_KEY_ID": "AKIABENCHMARK", "AWS_SECRET_ACCESS_KEY": "secret"}
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **keys})
        with urlopen(url) as reply:  # noqa: S310 - our own server
            seen = json.load(reply)
    return {
        "rate": (seen["count"] - 1) / seen["seconds"],
        "cpu_us": float(done.stdout) / seen["count"] * 1e6,
        "requests": seen["count"],
    }


def compare(delay: float, requests: int, runs: int) -> dict[str, Any]:
    """All arms in turn, and the ratio of their medians."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for number in range(runs):
        for name in ARMS if number % 2 == 0 else reversed(ARMS):
            found[name].append(run_arm(name, delay, requests))
            last = found[name][-1]
            print(
                f"{delay * 1000:3.0f} ms {name:>8}: {last['rate']:7,.0f} invocations/s, {last['cpu_us']:7.1f} us CPU",
                file=sys.stderr,
            )
    rates = {name: statistics.median(each["rate"] for each in every) for name, every in found.items()}
    spent = {name: statistics.median(each["cpu_us"] for each in every) for name, every in found.items()}
    return {
        "delay": delay,
        "rate": {name: round(rate) for name, rate in rates.items()},
        "cpu_us": {name: round(each, 1) for name, each in spent.items()},
        "ratio": {name: round(rates["dispatch"] / rates[name], 3) for name in ("bare", "boto3")},
        "cpu_ratio": {name: round(spent[name] / spent["dispatch"], 3) for name in ("bare", "boto3")},
    }


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--delay", type=float, help="seconds that the function takes; this one alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true", help="where the time of the dispatcher's arm goes")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.delay))
    elif given.arm:
        print(asyncio.run(ARMS[given.arm](given.url, given.requests)))
    elif given.profile:
        os.environ |= {"AWS_ACCESS_KEY_ID": "AKIABENCHMARK", "AWS_SECRET_ACCESS_KEY": "secret"}
        with serving(given.delay or 0.0) as url, cProfile.Profile() as profile:
            asyncio.run(run_dispatch(url, given.requests))
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    else:
        delays = DELAYS if given.delay is None else (given.delay,)
        document = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "aiohttp": version("aiohttp"),
            "boto3": version("boto3"),
            "concurrency": CONCURRENCY,
            "results": [compare(delay, given.requests, given.runs) for delay in delays],
        }
        print(json.dumps(document, indent=1))
        if given.json:
            given.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
