"""How far a long command is, how fast, and how long it still takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from dispatcher.telemetry.report import can_animate
from dispatcher.telemetry.text import duration, number

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["progress", "progress_line"]

_INTERVAL = 5.0


def progress_line(what: str, done: int, total: int, seconds: float) -> str:
    """``redriven 1,200 of 5,000, 300/s, 13 s left``; no time left before there is a rate."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
    return f"{what} {number(done)} of {number(total)}, {number(rate)}/s{left}"


@contextlib.asynccontextmanager
async def progress(
    what: str, total: int, done: Callable[[], int], console: Console, *, interval: float = _INTERVAL
) -> AsyncIterator[None]:
    """Show it while the body runs: on a terminal a bar, elsewhere a line every ``interval`` seconds.

    Args:
        what: in the past tense, ``redriven``.
        total: how many there are.
        done: asked for how many are done.
        console: over stderr.
        interval: seconds between two lines off a terminal.
    """
    began = time.monotonic()

    def line() -> str:
        return progress_line(what, min(done(), total), total, time.monotonic() - began)

    async def say() -> None:
        while True:
            await asyncio.sleep(interval)
            console.print(line())

    async def draw() -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
            task = bar.add_task(line(), total=max(total, 1))
            while True:
                await asyncio.sleep(0.2)
                bar.update(task, completed=min(done(), total), description=line())

    shown = asyncio.create_task(draw() if can_animate(console) else say(), name="progress")
    try:
        yield
    finally:
        shown.cancel()
        await asyncio.wait([shown])
