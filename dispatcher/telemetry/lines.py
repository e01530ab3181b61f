"""Lines of the log by structlog, whether logging was called or structlog."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import Any, Final

from structlog.processors import ExceptionRenderer, JSONRenderer, KeyValueRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from dispatcher.telemetry.text import log_line

__all__ = ["JSONFormatter", "TextFormatter"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: What ``wrap_for_formatter`` hangs on a record.
_WRAPPING: Final = frozenset({"_logger", "_name"})

_exception: Final = ExceptionRenderer()
_key_values: Final = KeyValueRenderer()


class _Formatter(ProcessorFormatter):
    def __init__(self, *processors: Processor) -> None:
        super().__init__(processors=processors)

    def format(self, record: logging.LogRecord) -> str:
        facts = vars(record)
        # By such a field, which extra= may have from an event, a line of logging's would pass for one of structlog's, and fail.
        if "_logger" in facts and not isinstance(facts["_logger"], logging.Logger):
            record = logging.makeLogRecord({name: value for name, value in facts.items() if name not in _WRAPPING})
        return super().format(record)


class TextFormatter(_Formatter):
    """``12:30:01 WARNING check_limit: the message``, and the fields of a line of structlog's, ``order=1``; a traceback
    follows, indented, so that no line of it can pass for a line of the log."""

    def __init__(self) -> None:
        super().__init__(_as_text)


class JSONFormatter(_Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, the fields given
    as ``extra=`` or to structlog, and ``traceback``."""

    def __init__(self) -> None:
        # ASCII alone: a terminal that shows the file is as safe as with the text format.
        super().__init__(_with_facts, JSONRenderer(default=str))


def _take(event: EventDict) -> tuple[logging.LogRecord, str, str]:
    """The record, the message and the traceback out of an event; what is left of it are the fields given to structlog."""
    record = event.pop("_record")
    del event["_from_structlog"]
    event.pop("stack_info", None)
    message = event.pop("event", "")
    rendered = _exception(None, "", {"exc_info": event.pop("exc_info", None)})
    return record, str(message), rendered.get("exception", "")


def _as_text(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    record, message, traceback = _take(event)
    return log_line(record, message, fields=_key_values(None, "", event), traceback=traceback)


def _with_facts(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    hidden = _STANDARD | _WRAPPING if event["_from_structlog"] else _STANDARD
    record, message, traceback = _take(event)
    # Not by ExtraAdder: it lets a field replace the event itself, and the record.
    extra = {name: value for name, value in vars(record).items() if name not in hidden}
    fields = {name: _finite(value) for name, value in {**event, **extra}.items()}
    # Last, so that no field of a function's passes for one of these.
    fields |= {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message,
    }
    if traceback:
        fields["traceback"] = traceback
    return fields


def _finite(value: Any) -> Any:
    # JSON has neither NaN nor infinity.
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
