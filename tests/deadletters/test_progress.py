"""How far a long command is."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from rich.console import Console

from dispatcher.cli.progress import progress, progress_line


def test_a_line_has_rate_and_time_left() -> None:
    """From what is done and how long it took; no time left where there is no rate, or nothing left."""
    assert progress_line("redriven", 1_200, 5_000, 4.0) == "redriven 1,200 of 5,000, 300/s, 12.7 s left"
    assert progress_line("redriven", 0, 5_000, 4.0) == "redriven 0 of 5,000, 0/s"
    assert progress_line("redriven", 5_000, 5_000, 4.0) == "redriven 5,000 of 5,000, 1,250/s"


async def test_off_a_terminal_there_are_lines_and_no_cursor_moves() -> None:
    """In a log file the progress is a line now and then, plain."""
    out = io.StringIO()
    done = 0
    async with progress("replayed", 10, lambda: done, Console(file=out, force_terminal=False), interval=0.01):
        async with asyncio.timeout(10):
            while "replayed 7 of 10" not in out.getvalue():
                done = 7
                await asyncio.sleep(0.01)
    assert "\x1b" not in out.getvalue()


async def test_on_a_terminal_a_bar_moves_and_goes() -> None:
    """It is drawn over itself, with rate and time left, and leaves nothing behind."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out: Any = Terminal()
    done = 3
    console = Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    async with progress("redriven", 10, lambda: done, console), asyncio.timeout(10):
        while "redriven 3 of 10" not in out.getvalue():
            await asyncio.sleep(0.01)
    assert "left" in out.getvalue()
