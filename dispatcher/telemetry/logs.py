"""Logging to stderr: a line an event that matters, for people or as JSON."""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from dispatcher.telemetry.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["JSONFormatter", "TextFormatter", "configure", "warnings_only"]

LogFormat = Literal["text", "json"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_STYLES: Final = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class TextFormatter(logging.Formatter):
    """``12:30:01 WARNING check_limit: the message``; a traceback follows, indented, so that no line of it
    can pass for a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname:<7} {printable(record.name)}: {printable(record.getMessage())}"
        if trace_id := vars(record).get("trace_id"):
            line += f" [trace {printable(str(trace_id))}]"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {printable(part)}" for part in trace.splitlines())
        return line


class JSONFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, the fields given
    as ``extra=``, and ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: _finite(value) for name, value in vars(record).items() if name not in _STANDARD}
        # Last, so that no field of a function's passes for one of these.
        fields |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        # ASCII alone: a terminal that shows the file is as safe as with the text format.
        return json.dumps(fields, default=str)


def _finite(value: Any) -> Any:
    # JSON has neither NaN nor infinity.
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


class _ConsoleHandler(logging.Handler):
    """Writes by way of the console, so that a live table stays below the lines."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._console.is_terminal:
                self._console.out(line, style=_STYLES.get(record.levelname), highlight=False)
            else:
                self._console.file.write(line + "\n")
                self._console.file.flush()
        except OSError:  # whoever read stderr has gone, which is no reason to stop the work
            pass
        except Exception:  # noqa: BLE001  # a bad log call must not fail an event
            self.handleError(record)


def configure(console: Console, *, level: str = "info", style: LogFormat = "text") -> None:
    """Send all logging of this process to ``console``, and to it alone.

    Args:
        console: a console over stderr, the one that the live report is drawn on.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``text`` for people, ``json`` for collectors.
    """
    handler = _ConsoleHandler(console)
    handler.setFormatter(JSONFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The client library's "info" is our "debug": each join and each metadata refresh.
    chatty = logging.DEBUG if level == "debug" else max(logging.WARNING, root.level)
    for name in ("aiokafka", "asyncio", "watchfiles"):
        logging.getLogger(name).setLevel(chatty)
    # Their "debug" has events with their keys, and, as the requests go out, the password of SASL PLAIN.
    for name in ("aiokafka.conn", "aiokafka.producer"):
        logging.getLogger(name).setLevel(max(logging.INFO, chatty))
    _say_less_of_topics()


def warnings_only() -> None:
    """For short commands: warnings to stderr as text, and the client library's errors alone. Changes nothing where
    :func:`configure` was called before."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter())
    root.addHandler(handler)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    _say_less_of_topics()


def _say_less_of_topics() -> None:
    # "Topic ... not found in cluster metadata", at each look whether a stream is there: we say what is missing.
    logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)
