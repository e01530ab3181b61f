"""structlog, where functions use it: what they say goes the way of all logging."""

from __future__ import annotations

import logging
from typing import Final

import structlog
from structlog.stdlib import (
    BoundLogger,
    LoggerFactory,
    PositionalArgumentsFormatter,
    filter_by_level,
    render_to_log_kwargs,
)
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["as_record", "send_to_logging"]

# Logging refuses fields of these names; the two are its own arguments too.
_TAKEN: Final = (frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}) - {"exc_info", "stack_info"}


def send_to_logging(*last: Processor) -> None:
    """Have structlog write to the standard library's loggers, at their levels, with what is bound and the contextvars.

    Where the function's own code has configured structlog before, that stands.

    Args:
        last: what makes of an event the arguments of such a logger.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            filter_by_level,
            structlog.contextvars.merge_contextvars,
            PositionalArgumentsFormatter(),
            *last,
        ],
        wrapper_class=BoundLogger,
        logger_factory=LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def as_record(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """The last processor where lines aren't rendered, but travel: a record of logging's own, the fields as ``extra=``.

    A field that has the name of an attribute of such records gets a line under it: ``name_``.
    """
    message = str(event.pop("event", ""))
    fields = {f"{field}_" if field in _TAKEN else field: value for field, value in event.items()}
    return render_to_log_kwargs(logger, name, {**fields, "event": message})
