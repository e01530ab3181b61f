"""How fast the target ``http`` is against a bare aiohttp client that posts the same bytes.

64 requests at once over kept connections, to a server in a process of its own that answers 204; events of one a request, and
in batches of 100. The bare arm has its requests made beforehand and does nothing but post them. The other is a whole worker,
fed from memory: it takes events into lanes, makes the requests, judges the answers, and commits. In a batch of 100 the making of
the body is most of the work, so there is a third: the bare client that makes its bodies as it goes, of the same records.
Both arms run in processes of their own, in turn, so that a drift of the machine meets both; what counts is the ratio.

    python benchmarks/http_target.py [--requests 10000] [--runs 5] [--json FILE]

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp

from bindings import Batch, Binding, Limits
from bindings.decorator import bind
from bindings.envelopes.record import WireRecord, event_id
from dispatcher.brokers.base import StreamInfo
from dispatcher.config import Settings
from dispatcher.config.elsewhere import function_elsewhere, functions_elsewhere
from dispatcher.config.targets import HttpTarget
from dispatcher.core.record import Outgoing
from dispatcher.invokers.http.invoker import HttpInvoker
from dispatcher.invokers.http.replies import ACCEPT
from dispatcher.invokers.http.requests import writer_of
from dispatcher.server import tune_garbage_collector
from dispatcher.testing.memory import MemoryBroker
from dispatcher.worker import Worker

STREAM = "benchmark.orders"
CONCURRENCY = 64
KEYS = 2251
BATCHES = (1, 100)


# -- the server


class Answering(asyncio.Protocol):
    """Answers 204 to every request; knows no more of HTTP than where one ends."""

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
            head = self._buffer[:end]
            if head.startswith(b"GET "):
                said = json.dumps({"seconds": Answering.last - Answering.first, "count": Answering.count}).encode()
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(said), said)
                )
                self._transport.close()
                return
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            Answering.last = time.perf_counter()
            Answering.first = Answering.first or Answering.last
            Answering.count += 1
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def serve() -> None:
    """Serve until the process is ended; the port is the first line of what it prints."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A server in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        yield f"http://127.0.0.1:{port}/in"
    finally:
        process.kill()
        process.wait()


# -- the arms


def value_of(number: int) -> bytes:
    """An order, of about 100 bytes."""
    key = number % KEYS
    return json.dumps(
        {
            "id": number,
            "household": f"h-{key}",
            "store": number % 97,
            "total": number % 10_000 / 100,
            "items": [1, 2, 3],
        }
    ).encode()


def binding_of(batch: int) -> Binding:
    """The function that is elsewhere."""
    made = bind(functions_elsewhere if batch > 1 else function_elsewhere, STREAM, name="elsewhere")
    limits = Limits(held_events=100_000, held_bytes=1 << 28)
    policy = Batch(max_events=batch, max_wait=0.5) if batch > 1 else Batch()
    return replace(made, concurrency=CONCURRENCY, batch=policy, limits=limits, order="none")


def records_of(events: int) -> list[WireRecord]:
    """The events."""
    return [
        WireRecord(STREAM, 0, number, 1_700_000_000_000, str(number % KEYS).encode(), value_of(number))
        for number in range(events)
    ]


def requests_of(url: str, events: Sequence[WireRecord], batch: int) -> Iterator[tuple[dict[str, str], bytes]]:
    """The requests, header for header and byte for byte as the dispatcher makes them."""
    write = writer_of(binding_of(batch), HttpTarget(type="http", url=url))
    common = {
        "accept": ACCEPT,
        "accept-encoding": "gzip",
        "user-agent": "dispatch-runtime",
        "dispatch-function": "elsewhere",
        "dispatch-timeout": "60.000",
        "dispatch-attempt": "1",
    }
    for begin in range(0, len(events), batch):
        records = events[begin : begin + batch]
        headers, body = write([_Delivered(record) for record in records])
        yield {**common, "idempotency-key": event_id(records[0]), **headers}, body


async def run_bare(url: str, requests: int, batch: int) -> float:
    """Post requests that are made already, 64 at once; gives the CPU seconds."""
    return await _post(url, list(requests_of(url, records_of(requests * batch), batch)))


async def run_making(url: str, requests: int, batch: int) -> float:
    """The same, with the requests made one by one when they are posted."""
    return await _post(url, requests_of(url, records_of(requests * batch), batch))


async def _post(url: str, requests: Iterable[tuple[dict[str, str], bytes]]) -> float:
    left = iter(requests)

    async def post(session: aiohttp.ClientSession) -> None:
        for headers, body in left:
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()
                response.raise_for_status()

    tune_garbage_collector()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        began = time.process_time()
        await asyncio.gather(*(post(session) for _ in range(CONCURRENCY)))
        return time.process_time() - began


class _Delivered:
    attempts = 0

    def __init__(self, origin: WireRecord) -> None:
        self.origin = origin


async def run_dispatch(url: str, requests: int, batch: int) -> float:
    """A worker and its target, to the end of the log; gives the CPU seconds."""
    async with MemoryBroker() as broker:
        await broker.create_stream(StreamInfo(name=STREAM, partitions=1))
        producer = await broker.producer()
        for number in range(requests * batch):
            await producer.send(Outgoing(topic=STREAM, key=str(number % KEYS).encode(), value=value_of(number)))
        binding = binding_of(batch)
        invoker = HttpInvoker(binding, HttpTarget(type="http", url=url))
        worker = Worker(binding, broker, app="bench", settings=Settings(), until_caught_up=True, invoker=invoker)
        tune_garbage_collector()  # as `dispatch run` does
        began = time.process_time()
        await worker.run()
        spent = time.process_time() - began
        if worker.statistics().done != requests * batch:
            raise SystemExit(f"not all was delivered: {worker.statistics()}")
        return spent


ARMS = {"bare": run_bare, "making": run_making, "dispatch": run_dispatch}


def run_arm(arm: str, batch: int, requests: int) -> dict[str, float]:
    """One run of an arm in a process of its own, against a server of its own."""
    with serving() as url:
        words = [
            sys.executable,
            __file__,
            "--arm",
            arm,
            "--url",
            url,
            "--batch",
            str(batch),
            "--requests",
            str(requests),
        ]
        spent = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        with urlopen(url) as reply:  # noqa: S310 - our own server
            seen = json.load(reply)
    return {
        "rate": (seen["count"] - 1) / seen["seconds"],
        "cpu_us": spent / seen["count"] * 1e6,
        "requests": seen["count"],
    }


def compare(batch: int, requests: int, runs: int) -> dict[str, Any]:
    """Both arms in turn, and the ratio of their medians."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for number in range(runs):
        for name in ARMS if number % 2 == 0 else reversed(ARMS):
            found[name].append(run_arm(name, batch, requests))
            last = found[name][-1]
            print(
                f"batch {batch:>3} {name:>8}: {last['rate']:8,.0f} requests/s, {last['cpu_us']:7.1f} us CPU",
                file=sys.stderr,
            )
    rates = {name: statistics.median(each["rate"] for each in every) for name, every in found.items()}
    spent = {name: statistics.median(each["cpu_us"] for each in every) for name, every in found.items()}
    return {
        "batch": batch,
        "rate": {name: round(rate) for name, rate in rates.items()},
        "cpu_us": {name: round(each, 1) for name, each in spent.items()},
        "ratio": {name: round(rates["dispatch"] / rates[name], 3) for name in ("bare", "making")},
        "cpu_ratio": {name: round(spent[name] / spent["dispatch"], 3) for name in ("bare", "making")},
    }


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, choices=BATCHES, help="this one alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true", help="where the time of the dispatcher's arm goes")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif given.arm:
        print(asyncio.run(ARMS[given.arm](given.url, given.requests, given.batch)))
    elif given.profile:
        with serving() as url, cProfile.Profile() as profile:
            asyncio.run(run_dispatch(url, given.requests, given.batch or 1))
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    else:
        batches = (given.batch,) if given.batch else BATCHES
        # The bodies of batches are a hundred times as large.
        results = [
            compare(batch, max(200, given.requests // (1 if batch == 1 else 10)), given.runs) for batch in batches
        ]
        document = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "aiohttp": version("aiohttp"),
            "concurrency": CONCURRENCY,
            "results": results,
        }
        print(json.dumps(document, indent=1))
        if given.json:
            given.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
