"""What a run came to, in a form that a person can check by eye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.text import columns, duration, number, printable

__all__ = ["Summary", "handled", "render", "unfinished"]

# Each event ends in exactly one of these.
_ENDS: Final = ("done", "filtered", "dead_lettered", "dropped", "retry_topic")
_TITLES: Final = {
    "done": "done",
    "filtered": "filtered",
    "dead_lettered": "dead letters",
    "dropped": "dropped",
    "retry_topic": "to retry topic",
}


def handled(statistics: Statistics) -> int:
    """Events that have come to an end, in whatever way."""
    return sum(getattr(statistics, name) for name in _ENDS)


def unfinished(statistics: Statistics) -> int:
    """Events that were fetched and not brought to an end: they are delivered again at the next run."""
    return statistics.consumed - handled(statistics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of a run.

    Attributes:
        functions: the last statistics of each.
        seconds: how long each ran.
        failures: why a function stopped before it was asked to.
        signal: the number of the signal that ended the run, or None.
        forced: a second signal cut the drain short.
    """

    functions: tuple[Statistics, ...]
    seconds: Mapping[str, float]
    failures: Mapping[str, BaseException] = field(default_factory=dict)
    signal: int | None = None
    forced: bool = False

    @property
    def dead_lettered(self) -> int:
        """Dead letters of all functions."""
        return sum(statistics.dead_lettered for statistics in self.functions)

    def exit_code(self, *, until_caught_up: bool) -> int:
        """128 and the signal's number; 1 when a function failed, or a run to the end left dead letters; 0."""
        if self.signal is not None:
            return 128 + self.signal
        return int(bool(self.failures) or (until_caught_up and self.dead_lettered > 0))

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "functions": [
                statistics._asdict()
                | {
                    "unfinished": unfinished(statistics),
                    "seconds": round(self.seconds.get(statistics.function, 0.0), 3),
                    "failure": str(self.failures[statistics.function])
                    if statistics.function in self.failures
                    else None,
                }
                for statistics in self.functions
            ],
            "signal": self.signal,
            "forced": self.forced,
        }


def render(summary: Summary, *, look: str) -> list[str]:
    """The summary's lines.

    Args:
        summary: what to show.
        look: the command that shows a function's dead letters; ``FN`` in it stands for the function's name.
    """
    shown = [name for name in _ENDS if name == "done" or any(getattr(s, name) for s in summary.functions)]
    left = any(unfinished(statistics) for statistics in summary.functions)
    header = ["function", "consumed"]
    header += [f"{'=' if index == 0 else '+'} {_TITLES[name]}" for index, name in enumerate(shown)]
    header += ["+ not finished"] * left + ["retries", "emitted", "events/s"]
    rows = [header]
    for statistics in summary.functions:
        seconds = summary.seconds.get(statistics.function, 0.0)
        rows.append(
            [
                statistics.function,
                number(statistics.consumed),
                *(number(getattr(statistics, name)) for name in shown),
                *([number(unfinished(statistics))] * left),
                number(statistics.retried),
                number(statistics.emitted),
                number(handled(statistics) / seconds if seconds else None),
            ]
        )
    lines = columns(rows, right=range(1, len(header)))
    ran = duration(max(summary.seconds.values(), default=0.0))
    lines.append(f"ran for {ran}" + (", cut short" if summary.forced else ""))
    for statistics in summary.functions:
        if statistics.dead_lettered:
            letters = "dead letter" if statistics.dead_lettered == 1 else "dead letters"
            lines.append(f"{number(statistics.dead_lettered)} {letters} of {printable(statistics.function)}:")
            lines.append(f"  {look.replace('FN', printable(statistics.function), 1)}")
        if statistics.skipped:
            lines.append(
                f"{printable(statistics.function)}: {number(statistics.skipped)} offsets were not there any more, or could not be read"
            )
    lines += [f"{printable(name)} failed: {error}" for name, error in summary.failures.items()]
    return lines
