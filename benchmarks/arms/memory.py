"""A backlog that no function can keep up with, and how much memory a ``dispatch run`` takes meanwhile."""

from __future__ import annotations

import statistics
import time
import uuid
from pathlib import Path

from benchmarks.arms.commanding import app_folder, running, until

#: What a function may hold of its events: ``Limits(held_bytes)`` as it is by default.
BUDGET_MB = 64.0

APP = """
import asyncio
from pathlib import Path

from bindings import on_stream


@on_stream("{stream}")
async def handle(event: bytes) -> None:
    Path("seen").touch()
    await asyncio.sleep(1.0)
"""


def run(bootstrap: str, stream: str, seconds: float) -> dict[str, float]:
    """Sample the resident memory of the process from its first event on, for so many seconds."""
    with app_folder(APP.format(stream=stream)) as folder:
        words = ("run", "app.py", "--broker", f"kafka://{bootstrap}", "--app", f"bench-{uuid.uuid4().hex[:8]}")
        with running(folder, *words) as process:
            until((folder / "seen").exists, "an event", patience=60, every=0.05, folder=folder)
            begin = time.monotonic()
            samples = [rss_mb(process.pid)]
            while time.monotonic() - begin < seconds:
                time.sleep(0.2)
                samples.append(rss_mb(process.pid))
            peak = rss_mb(process.pid, "VmHWM")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    return {
        "peak_mb": peak,
        "over_mb": peak - BUDGET_MB,
        "late_mb": statistics.median(late),
        # Between the second quarter of the time and the last: 0 is flat.
        "growth_mb": statistics.median(late) - statistics.median(early),
        "seconds": seconds,
    }


def rss_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory, in millions of bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split(f"{field}:")[1].split()[0]) * 1024 / 1e6
