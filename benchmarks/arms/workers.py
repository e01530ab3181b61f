"""``dispatch run --workers N`` on real Kafka, counted from outside."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import time
import uuid
from pathlib import Path

from benchmarks.arms.commanding import DISPATCH, app_folder, running, until
from dispatcher.brokers.kafka import KafkaBroker

# Each process counts into a file of its own, eight bytes long, that it has mapped into its memory.
APP = """
import mmap
import os
import time
from pathlib import Path

from pydantic import BaseModel

from bindings import on_stream

made = Path(f"count-{{os.getpid()}}")
made.write_bytes(bytes(8))
with made.open("r+b") as file:
    counts = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")


class Order(BaseModel):
    id: int
    household: str
    store: int
    total: float


@on_stream("{stream}")
async def handle(order: Order) -> None:
    until = time.thread_time_ns() + {work_us} * 1000
    while time.thread_time_ns() < until:
        pass
    counts[0] += 1
"""


def run(
    bootstrap: str, streams: dict[str, str], events: dict[str, int], work_us: int, workers: int
) -> dict[str, float]:
    """Events a second of all processes together, while all of them have work.

    They join with their function paused, so that each has its share of the partitions before the first event.
    """
    stream, total = streams[str(work_us)], events[str(work_us)]
    app = f"bench-{uuid.uuid4().hex[:8]}"
    place = ("app.py", "--broker", f"kafka://{bootstrap}", "--app", app)
    with app_folder(APP.format(stream=stream, work_us=work_us)) as folder:
        _say(folder, "functions", "pause", "handle", *place)
        with running(folder, "run", *place, "--workers", str(workers)):
            group = f"{app}.handle"
            until(lambda: _members(bootstrap, group) == workers, "the group", patience=60, every=0.5, folder=folder)
            # Their first fetches, too, are behind them then.
            time.sleep(3.0)
            _say(folder, "functions", "resume", "handle", *place)
            until(lambda: _begun(folder) == workers, "all to work", patience=60, every=0.01, folder=folder)
            first, began = _total(folder), time.monotonic()
            until(lambda: _total(folder) >= 0.75 * total, "the events", patience=300, every=0.01, folder=folder)
            rate = (_total(folder) - first) / (time.monotonic() - began)
    return {"rate": rate, "seconds": time.monotonic() - began, "events": total}


def _say(folder: Path, *words: str) -> None:
    subprocess.run([DISPATCH, *words], cwd=folder, check=True, capture_output=True, timeout=60)


def _members(bootstrap: str, group: str) -> int:
    async def ask() -> int:
        async with KafkaBroker(bootstrap) as broker:
            return await broker.group_members(group)

    return asyncio.run(ask())


def _count(file: Path) -> int:
    count: int = struct.unpack("q", file.read_bytes())[0]
    return count


def _begun(folder: Path) -> int:
    return sum(_count(file) > 0 for file in folder.glob("count-*"))


def _total(folder: Path) -> int:
    return sum(_count(file) for file in folder.glob("count-*"))
