"""The live report: on a terminal a table that moves, elsewhere a line now and then."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, Self

from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.summary import handled
from dispatcher.telemetry.text import duration, number, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Report", "Watched", "can_animate"]

log = logging.getLogger("dispatcher.report")

_WINDOW: Final = 5.0
_COLOURS: Final = {"running": "green", "paused": "yellow", "joining": "cyan", "draining": "yellow", "stopped": "dim"}


#: Columns that a narrow terminal goes without, the first of them first. What is left tells whether all is well.
_DISPENSABLE: Final = ("retries", "running", "parked", "events/s", "done")
_NAME: Final = 24
_GAP: Final = 2


class Watched(Protocol):
    """What the report asks of a function that runs."""

    def statistics(self) -> Statistics:
        """The counts at this moment."""


def can_animate(console: Console) -> bool:
    """Whether a table may move on this console: a real terminal that takes cursor movements."""
    # Asked of the stream: FORCE_COLOR makes a console claim to be a terminal, in CI logs too.
    return console.file.isatty() and not console.is_dumb_terminal


class Report:
    """Watches functions from its entry to its exit; an async context manager.

    Args:
        functions: what to watch.
        console: a console over stderr, the one that logging writes to.
        title: what runs, and where.
        interval: seconds between two lines of a function off a terminal.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        functions: Sequence[Watched],
        console: Console,
        *,
        title: str,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._functions = functions
        self._console = console
        self._title = title
        self._interval = interval
        self._clock = clock
        self._began = clock()
        self._samples: dict[str, deque[tuple[float, int]]] = {}
        self._last: dict[str, Statistics] = {}
        self._lines: dict[str, tuple[float, Statistics]] = {}
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._began = self._clock()
        if can_animate(self._console):
            from rich.live import Live

            self._live = Live(
                self.table(self._sample()),
                console=self._console,
                auto_refresh=False,
                transient=True,
                # What functions print belongs above the table, but only where it goes to this terminal anyway.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
        self._task = asyncio.create_task(self._watch(), name="report")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()):
                # What is shown has failed, not what was done: the run goes on, and ends as it would have.
                log.error("the live report has stopped by a bug in it", exc_info=error)
        if self._live:
            self._live.stop()
        else:
            self.say(self._sample())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25 if self._live else min(1.0, self._interval))
            statistics = self._sample()
            if self._live:
                self._live.update(self.table(statistics), refresh=True)
            else:
                self.say(statistics)

    def _sample(self) -> list[Statistics]:
        now = self._clock()
        all_statistics = [function.statistics() for function in self._functions]
        for statistics in all_statistics:
            samples = self._samples.setdefault(statistics.function, deque())
            samples.append((now, handled(statistics)))
            while len(samples) > 2 and now - samples[1][0] >= _WINDOW:
                samples.popleft()
        return all_statistics

    def rate(self, function: str) -> float | None:
        """Events a second that came to an end in the last seconds; None before there are two samples."""
        samples = self._samples.get(function)
        if not samples or samples[-1][0] <= samples[0][0]:
            return None
        return (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])

    def table(self, all_statistics: Sequence[Statistics]) -> RenderableType:
        """The table as it stands."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        rows = [self._cells(s) for s in all_statistics]
        titles, room = _fitting(rows, self._console.width)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
        table.add_column("function", no_wrap=True, min_width=12)
        for title in titles:
            table.add_column(title, no_wrap=True, justify="left" if title == "state" else "right")
        for s, cells in zip(all_statistics, rows, strict=True):
            name = Text(printable(s.function))
            name.truncate(room, overflow="ellipsis")
            table.add_row(name, *(Text(*cells[title]) for title in titles))
        head = Text(f"{printable(self._title)}  {duration(self._clock() - self._began)}", style="dim")
        return Group(head, table)

    def _cells(self, s: Statistics) -> dict[str, tuple[str, str]]:
        """Text and style of each column but the name's."""
        return {
            "state": (s.state, _COLOURS[s.state]),
            "events/s": (number(self.rate(s.function)), ""),
            "done": (number(s.done), ""),
            "lag": (number(s.backlog), ""),
            "retries": (number(s.retried), ""),
            "running": (number(s.in_flight), ""),
            "parked": (number(s.parked), "yellow" if s.parked else ""),
            "dead letters": (number(s.dead_lettered), "bold red" if s.dead_lettered else ""),
        }

    def say(self, all_statistics: Sequence[Statistics]) -> None:
        """Log a line for each function that has news: at once for what is notable, else every interval."""
        now = self._clock()
        for new in all_statistics:
            said, old = self._lines.get(new.function, (float("-inf"), None))
            notable = (
                old is None
                or new.state != old.state
                or (new.dead_lettered > 0) > (old.dead_lettered > 0)
                or new.skipped > old.skipped
                or new.dropped > 0 == old.dropped
            )
            if notable or (new != old and now - said >= self._interval):
                self._lines[new.function] = (now, new)
                log.info("%s", self.line(new), extra=new._asdict())

    def line(self, s: Statistics) -> str:
        """One function's counts on a line; what is zero and seldom is not is left out."""
        parts = [f"{s.function}: {s.state}", f"{number(self.rate(s.function))} events/s"]
        parts += [f"done {number(s.done)}", f"lag {number(s.backlog)}", f"retries {number(s.retried)}"]
        parts += [f"running {number(s.in_flight)}", f"parked {number(s.parked)}"]
        parts += [f"dead letters {number(s.dead_lettered)}"]
        for name in ("filtered", "dropped", "retry_topic", "not_delivered", "skipped"):
            if value := getattr(s, name):
                parts.append(f"{name.replace('_', ' ')} {number(value)}")
        return ", ".join(parts)


def _fitting(rows: Sequence[Mapping[str, tuple[str, str]]], width: int) -> tuple[list[str], int]:
    """The columns for which there is room, and what they leave for the name."""
    titles = list(rows[0]) if rows else []
    widths = {title: _GAP + max(len(title), *(len(row[title][0]) for row in rows)) for title in titles}
    room = width - sum(widths.values())
    for title in _DISPENSABLE:
        if titles and room < _NAME:
            titles.remove(title)
            room += widths[title]
    return titles, max(room, 12)
