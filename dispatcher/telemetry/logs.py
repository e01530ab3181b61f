"""Logging to stderr: a line an event that matters, for people or as JSON."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal

from dispatcher.telemetry.text import log_line

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["configure", "warnings_only"]

LogFormat = Literal["text", "json"]

_STYLES: Final = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class _PlainFormatter(logging.Formatter):
    """The lines of :class:`~dispatcher.telemetry.lines.TextFormatter` without structlog, which takes a tenth of a
    second to import: too long for a short command."""

    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        return log_line(record, record.getMessage(), traceback=traceback)


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
    """Send all logging of this process to ``console``, and to it alone; that by structlog too, unless the functions' own
    code has configured it.

    Args:
        console: a console over stderr, the one that the live report is drawn on.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``text`` for people, ``json`` for collectors.
    """
    from structlog.stdlib import ProcessorFormatter

    from dispatcher.structured import send_to_logging
    from dispatcher.telemetry.lines import JSONFormatter, TextFormatter

    handler = _ConsoleHandler(console)
    handler.setFormatter(JSONFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    send_to_logging(ProcessorFormatter.wrap_for_formatter)
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
    handler.setFormatter(_PlainFormatter())
    root.addHandler(handler)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    _say_less_of_topics()


def _say_less_of_topics() -> None:
    # "Topic ... not found in cluster metadata", at each look whether a stream is there: we say what is missing.
    logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)
