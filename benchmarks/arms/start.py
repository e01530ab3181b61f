"""How long a person waits for the first sign of life."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.arms.commanding import DISPATCH, app_folder, running, until
from benchmarks.orders import value_of

APP = """
import time
from pathlib import Path

from pydantic import BaseModel

from bindings import on_stream


class Order(BaseModel):
    id: int
    household: str
    store: int
    total: float


@on_stream("orders")
async def handle(order: Order) -> None:
    seen = time.monotonic_ns()
    if order.id == 0:
        Path("seen").write_text(str(seen))
"""


def run_command(words: Sequence[str], times: int) -> dict[str, float]:
    """A command from its start to its end."""
    program = [sys.executable] if words[0] == "-c" else [DISPATCH]
    return _figures([_timed([*program, *words]) for _ in range(times)])


def run_first_event(times: int) -> dict[str, float]:
    """``dispatch run`` from its start to the first event in its function, on an embedded log that holds some."""
    with app_folder(APP) as folder:
        (folder / "orders.jsonl").write_bytes(b"\n".join(value_of(number) for number in range(100)))
        subprocess.run(
            [DISPATCH, "send", "orders", "orders.jsonl"], cwd=folder, check=True, capture_output=True, timeout=60
        )
        seen, took = folder / "seen", []
        for number in range(times):
            seen.unlink(missing_ok=True)
            began = time.monotonic_ns()
            with running(folder, "run", "app.py", "--app", f"bench{number}"):
                until(lambda: seen.exists() and seen.read_text(), "an event", patience=60, every=0.005, folder=folder)
                took.append((int(seen.read_text()) - began) / 1e6)
    return _figures(took)


def _timed(words: Sequence[str]) -> float:
    began = time.monotonic_ns()
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return (time.monotonic_ns() - began) / 1e6


def _figures(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"ms": statistics.median(milliseconds), "least_ms": min(milliseconds), "most_ms": max(milliseconds)}
