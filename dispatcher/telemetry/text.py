"""Text for people: nothing that came from an event can forge a line or move a terminal's cursor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import LogRecord

__all__ = ["columns", "duration", "log_line", "moment", "number", "printable"]


def printable(text: str) -> str:
    r"""``text`` on one line: control, format and unassigned characters are written as ``\x1b``.

    Backslashes stay as they are, so this is for eyes; what a program is to read goes out as JSON.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def log_line(record: LogRecord, message: str, *, fields: str = "", traceback: str = "") -> str:
    """``12:30:01 WARNING check_limit: the message order=1 [trace ...]``, and the traceback's lines below, indented."""
    time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    line = f"{time} {record.levelname:<7} {printable(record.name)}: {printable(message)}"
    if fields:
        line += f" {printable(fields)}"
    if trace_id := vars(record).get("trace_id"):
        line += f" [trace {printable(str(trace_id))}]"
    return line + "".join(f"\n    {printable(part)}" for part in traceback.splitlines())


def columns(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Align ``rows``, the first of which is the header; the columns numbered in ``right`` end flush."""
    if not rows:
        return []
    safe = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in safe) for index in range(len(safe[0]))]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in safe
    ]


def number(value: float | None) -> str:
    """``12,345``, ``0.4`` under ten, ``-`` for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, float) and 0 < value < 10:
        return f"{value:.1f}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``5 min 02 s``, ``3 h 07 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(milliseconds: int) -> str:
    """``2026-03-01T12:00:00.000Z``; the number itself where it is in no year that the calendar has: producers choose it."""
    try:
        text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"
    return text.replace("+00:00", "Z")
