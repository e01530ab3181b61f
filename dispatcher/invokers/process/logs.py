"""Log records on their way from a function's process to the dispatcher's handlers."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

from dispatcher.invokers.process.frames import LOG, InvalidFrame, frame

__all__ = ["Forwarder", "read_log"]

#: Characters of a message, its traceback included, and of another field.
_LONGEST_MESSAGE, _LONGEST_FIELD = 8_000, 1_000
_MOST_FIELDS = 32
#: Log records of one invocation; what is beyond is counted and left out.
_MOST_RECORDS = 1_000

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Forwarder(logging.Handler):
    """In the function's process: sends each record to the dispatcher.

    Args:
        send: takes a frame; may be called from any thread.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send
        self._sent = self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._sent >= _MOST_RECORDS:
                self._left_out += 1
                return
            self._sent += 1
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                message += "\n" + "".join(traceback.format_exception(record.exc_info[1]))[-_LONGEST_MESSAGE // 2 :]
            fields = {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD}
            self._send(_pack(record.name, record.levelno, message, dict(list(fields.items())[:_MOST_FIELDS])))
        except Exception:  # noqa: BLE001 - a bad log call must not fail an event
            self.handleError(record)

    def begin(self) -> None:
        """The next invocation begins; say what was left out of the one before."""
        left_out, self._sent, self._left_out = self._left_out, 0, 0
        if left_out:
            self._send(_pack("functions", logging.WARNING, f"{left_out:,} more log records were left out", {}))


def read_log(header: Any) -> logging.LogRecord:
    """Make the record again, in the dispatcher. Nothing in it but text and numbers, and no field of logging's own.

    Raises:
        InvalidFrame: it is no log record.
    """
    if type(header) is not list or len(header) != 4:
        raise InvalidFrame("a log record has other parts")
    name, level, message, fields = header
    if type(name) is not str or type(level) is not int or type(message) is not str or type(fields) is not dict:
        raise InvalidFrame("a part of a log record has another type")
    level = max(0, min(level, logging.CRITICAL))
    extra = {
        key[:_LONGEST_FIELD]: _plain(value)
        for key, value in list(fields.items())[:_MOST_FIELDS]
        if key not in _STANDARD and not key.startswith("_")
    }
    return logging.makeLogRecord(
        {
            **extra,
            "name": name[:_LONGEST_FIELD],
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": message[:_LONGEST_MESSAGE],
        }
    )


def _pack(name: str, level: int, message: str, fields: dict[str, Any]) -> bytes:
    return frame(LOG, [name, level, message[:_LONGEST_MESSAGE], fields])


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return str(value)[:_LONGEST_FIELD]
