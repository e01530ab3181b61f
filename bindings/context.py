"""The context of a delivery in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from bindings.outcome import Emit
from bindings.trace import TraceContext, current_trace, trace_of

__all__ = ["InvocationContext"]


class InvocationContext:
    """The :class:`~bindings.event.Context` of one invocation. Cheap to make: the rest is made when it is read.

    Args:
        function: the function's name in its app.
        event_id: ``stream/partition/offset`` of the (first) event.
        attempt: 1 for the first delivery.
        timeout: seconds from now until the deadline.
        emits: the binding's output stream; without one, ``emit`` is refused.
        headers: of the event, when it is one: its trace is that of the delivery where no dispatcher or host has another.

    Attributes:
        emitted: what the function has emitted so far, in order; produced only when it succeeds.
    """

    __slots__ = (
        "_attempt", "_deadline", "_emits", "_event_id", "_expires", "_function", "_headers", "_logger", "emitted",
    )  # fmt: skip

    def __init__(
        self,
        function: str,
        event_id: str,
        attempt: int = 1,
        timeout: float = 60.0,
        emits: str | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        self._function = function
        self._event_id = event_id
        self._attempt = attempt
        # The monotonic clock: a step of the wall clock is no reason for a function to give up.
        self._expires = time.monotonic() + timeout
        self._emits = emits
        self._headers = headers
        self._deadline: datetime | None = None
        self._logger: logging.Logger | None = None
        self.emitted: list[Emit] = []

    @property
    def function(self) -> str:
        """The function's name in this app."""
        return self._function

    @property
    def attempt(self) -> int:
        """1 for the first delivery; in a batch the highest of its events' attempts."""
        return self._attempt

    @property
    def event_id(self) -> str:
        """``stream/partition/offset`` of the (first) event."""
        return self._event_id

    @property
    def deadline(self) -> datetime:
        """When the attempt times out, as an aware datetime in UTC."""
        if self._deadline is None:
            self._deadline = datetime.now(UTC) + timedelta(seconds=self.remaining())
        return self._deadline

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""
        return self._expires - time.monotonic()

    @property
    def logger(self) -> logging.Logger:
        """A logger whose records carry ``function``, ``event_id`` and ``attempt``.

        It hands them to the handlers of ``functions.<name>`` and its parents.
        """
        if self._logger is None:
            self._logger = _DeliveryLogger(self)
        return self._logger

    @property
    def trace(self) -> TraceContext | None:
        """The trace to go on with: of this invocation, where it is traced, else of its one event; None without either."""
        return current_trace.get() or trace_of(self._headers)

    def emit(self, value: Any, *, key: bytes | str | None = None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Produce ``value`` to the stream in ``emits=`` when, and only when, the function succeeds.

        Raises:
            RuntimeError: the function declares no ``emits=``.
        """
        if self._emits is None:
            raise RuntimeError(f'{self._function} declares no output stream: add emits="..." to its @on_stream')
        self.emitted.append(Emit(value, key=key, headers=headers))

    def __repr__(self) -> str:
        return f"<InvocationContext of {self._function}, {self._event_id}, attempt {self._attempt}>"


class _DeliveryLogger(logging.Logger):
    """Not registered with the logging module, which would keep one for each event for ever."""

    def __init__(self, context: InvocationContext) -> None:
        super().__init__(f"functions.{context.function}")
        self.parent = logging.getLogger(self.name)
        self._facts = {"function": context.function, "event_id": context.event_id, "attempt": context.attempt}

    def makeRecord(  # noqa: N802 - the name in logging.Logger
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: tuple[object, ...] | Mapping[str, object],
        exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        return super().makeRecord(
            name, level, fn, lno, msg, args, exc_info, func, {**self._facts, **(extra or {})}, sinfo
        )
