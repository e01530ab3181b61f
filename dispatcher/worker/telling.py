"""What a worker says of events that failed: each end in the log, many of one kind as one line and a count."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bindings import Binding
from bindings.failure import Failure, FailureKind
from bindings.invocation import Reply
from dispatcher.core.delivery import Delivery, State
from dispatcher.core.record import Record
from dispatcher.core.retries import PauseCause
from dispatcher.core.settlement import DeadLettered
from dispatcher.telemetry.throttle import Throttle

__all__ = ["Teller"]

logger = logging.getLogger("dispatcher.worker")


class Teller:
    """Logs the failures of one function's events. Payloads are never part of it."""

    def __init__(self, binding: Binding) -> None:
        self._name = binding.name
        self._drops = binding.retry.then == "drop"
        self._throttle = Throttle(10.0)

    def failed(self, batch: Sequence[Delivery], reply: Reply) -> None:
        """An invocation has been settled: what is dropped, and a target that takes nothing, is a warning; what is tried again is for
        debugging.
        """
        for index, delivery in enumerate(batch):
            failure = reply.failures.get(index, reply.rest)
            if failure is None:
                continue
            if failure.kind is FailureKind.NOT_DELIVERED:
                self._refused(failure)
            elif self._drops and delivery.state in (State.SETTLING, State.DONE):
                self._dropped(delivery, failure)
            elif logger.isEnabledFor(logging.DEBUG):
                record = delivery.origin
                logger.debug(
                    "%s: %s/%d@%d failed (attempt %d): %s: %s",
                    self._name, record.topic, record.partition, record.offset, delivery.attempts,
                    failure.error_type, failure.message,
                    extra=self._fields(record, failure, delivery.attempts),
                )  # fmt: skip

    def dead(self, letters: Sequence[DeadLettered]) -> None:
        """These dead letters have been written."""
        for letter in letters:
            more = self._throttle.admits((letter.reason, letter.failure.error_type))
            if more is not None:
                record = letter.delivery.origin
                logger.warning(
                    "%s: %s/%d@%d is a dead letter (%s, attempts: %d): %s: %s%s",
                    self._name, record.topic, record.partition, record.offset, letter.reason, letter.delivery.attempts,
                    letter.failure.error_type, letter.failure.message, _and(more),
                    extra=self._fields(record, letter.failure, letter.delivery.attempts, letter.reason),
                )  # fmt: skip

    def paused(self, cause: PauseCause) -> None:
        """The retry policy has paused the function."""
        logger.error(
            "%s has paused, until somebody resumes it: %s/%d@%d is given up (%s, attempts: %d): %s: %s",
            self._name, cause.stream, cause.partition, cause.offset, cause.reason, cause.attempts,
            cause.error_type, cause.message,
            extra={
                "function": self._name, "stream": cause.stream, "partition": cause.partition, "offset": cause.offset,
                "error_type": cause.error_type, "attempts": cause.attempts, "reason": str(cause.reason),
            },
        )  # fmt: skip

    def _refused(self, failure: Failure) -> None:
        more = self._throttle.admits(("not delivered", failure.error_type))
        if more is not None:
            logger.warning(
                "%s: its target takes no events, which wait and use no attempt: %s: %s%s",
                self._name, failure.error_type, failure.message, _and(more),
                extra={"function": self._name, "error_type": failure.error_type},
            )  # fmt: skip

    def _fields(self, record: Record, failure: Failure, attempts: int, reason: str | None = None) -> dict[str, object]:
        """What a JSON line has beside its message, so that a collector need not take it apart."""
        fields: dict[str, object] = {
            "function": self._name, "stream": record.topic, "partition": record.partition, "offset": record.offset,
            "error_type": failure.error_type, "attempts": attempts,
        }  # fmt: skip
        return fields if reason is None else {**fields, "reason": str(reason)}

    def _dropped(self, delivery: Delivery, failure: Failure) -> None:
        more = self._throttle.admits(("dropped", failure.error_type))
        if more is not None:
            record = delivery.origin
            logger.warning(
                "%s: %s/%d@%d is dropped (attempts: %d): %s: %s%s",
                self._name, record.topic, record.partition, record.offset, delivery.attempts,
                failure.error_type, failure.message, _and(more),
                extra=self._fields(record, failure, delivery.attempts),
            )  # fmt: skip


def _and(more: int) -> str:
    return f" ({more} more like it before)" if more else ""
