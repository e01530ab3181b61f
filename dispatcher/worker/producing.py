"""Writing what a settlement leaves: until the broker has it, or the partition has gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bindings import Binding
from bindings.failure import Failure, FailureKind
from dispatcher.brokers.base import Broker, Producer
from dispatcher.core.delivery import Delivery
from dispatcher.core.record import Outgoing
from dispatcher.core.retries import Reason
from dispatcher.core.settlement import DeadLettered, Moved, Settlement
from dispatcher.errors import BrokerError, RecordTooLarge
from dispatcher.telemetry.throttle import Throttle
from dispatcher.worker.records import dead_letter, retry_copy, truncated

if TYPE_CHECKING:
    from dispatcher.worker.tracing import Settling

__all__ = ["SettlementWriter"]

logger = logging.getLogger("dispatcher.worker")

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 10.0
# What is kept of a dead letter that its topic does not take: enough to see what it was, then hardly more than where.
_KEPT_BYTES = (64_000, 500)
# Of the tries of a dead letter that its topic takes in no size: each fifth is cut. The topic may be mended any moment,
# between a refusal of the whole and the cut copy after it too; and it may be mended so that only a cut copy fits.
_CUT_EVERY = 5

#: A record to write, and what it stands for: None for a result.
_Due = tuple[Outgoing, DeadLettered | Moved | None]


class SettlementWriter:
    """Produces dead letters and results with one producer, made when the first is due."""

    def __init__(self, binding: Binding, broker: Broker) -> None:
        self._binding = binding
        self._broker = broker
        self._producer: Producer | None = None
        self._making = asyncio.Lock()
        self._throttle = Throttle(10.0)

    async def write(self, settlement: Settlement, results: Sequence[Outgoing], trace: Settling | None = None) -> bool:
        """Produce all records of a settlement; False when its partitions went before that could be done.

        A topic that refuses or is down holds up its own events and no others: their offsets are not
        committed, and the write is tried again, at most every 10 s.
        """
        left: list[_Due] = [
            *((record, None) for record in results),
            *((self._letter(letter, trace), letter) for letter in settlement.dead),
            *((retry_copy(self._binding, moved, trace), moved) for moved in settlement.moved),
        ]
        if trace is not None:
            trace.sending(record.topic for record, _ in left)
        wait, tries = _FIRST_WAIT, 0
        while left:
            try:
                producer = await self._get_producer()
            except BrokerError as error:
                outcomes: Sequence[object] = [error] * len(left)
            else:
                outcomes = await producer.send_all([record for record, _ in left])
            smaller: list[_Due] = []
            again: list[_Due] = []
            for (record, source), outcome in zip(left, outcomes, strict=True):
                instead = None
                if isinstance(outcome, RecordTooLarge) and (
                    tries % _CUT_EVERY == 0 or not isinstance(source, DeadLettered)
                ):
                    instead = self._shrink(settlement, record, source, outcome, trace)
                if instead is not None:
                    smaller += instead
                elif isinstance(outcome, BrokerError):
                    self._complain(record, outcome)
                    # Whole again: a topic that took not even the smallest copy may take everything once it is mended.
                    again.append((self._letter(source, trace) if isinstance(source, DeadLettered) else record, source))
            if not settlement.done:
                again = [(record, source) for record, source in again if source is not None]
            left = smaller + again
            if left and not any(delivery.partition.active for delivery in settlement.deliveries()):
                return False
            if again and not smaller:
                await asyncio.sleep(wait)
                wait, tries = min(_LONGEST_WAIT, 2 * wait), tries + 1
        return True

    async def close(self) -> None:
        """Flush and close the producer."""
        if self._producer is not None:
            await self._producer.close()

    async def _get_producer(self) -> Producer:
        async with self._making:
            if self._producer is None:
                self._producer = await self._broker.producer()
            return self._producer

    def _shrink(
        self,
        settlement: Settlement,
        record: Outgoing,
        source: DeadLettered | Moved | None,
        error: RecordTooLarge,
        trace: Settling | None,
    ) -> list[_Due] | None:
        """What to write instead of a record that its topic does not take; None when it is as small as can be."""
        if isinstance(source, DeadLettered):
            for keep in _KEPT_BYTES:
                cut = truncated(record, keep)
                if cut != record:
                    logger.error(
                        "%s: a dead letter is too large for it and is cut to %d bytes: %s", record.topic, keep, error
                    )
                    return [(cut, source)]
            return None
        # It will be too large at each attempt: its events are given up.
        what = "its result" if source is None else "its copy for a later attempt"
        failure = Failure(
            kind=FailureKind.TERMINAL,
            error_type="RecordTooLarge",
            message=f"{what} is too large for {record.topic}: {error}",
        )
        if source is None:
            given_up = list(settlement.done)
            settlement.done.clear()
        else:
            given_up = [source.delivery]
            settlement.moved.remove(source)
        if self._binding.retry.then == "drop":
            logger.warning("%s: %d events are dropped: %s", self._binding.name, len(given_up), failure.message)
            settlement.dropped.extend(given_up)
            return []
        letters = [self._bury(delivery, failure) for delivery in given_up]
        settlement.dead.extend(letters)
        return [(self._letter(letter, trace), letter) for letter in letters]

    def _letter(self, letter: DeadLettered, trace: Settling | None) -> Outgoing:
        return dead_letter(self._binding, letter, trace)

    @staticmethod
    def _bury(delivery: Delivery, failure: Failure) -> DeadLettered:
        history = delivery.remember()
        history.failure = failure
        history.last_failed = time.time_ns() // 1_000_000
        history.first_failed = history.first_failed or history.last_failed
        return DeadLettered(delivery, Reason.OVERSIZE, failure)

    def _complain(self, record: Outgoing, error: BrokerError) -> None:
        if (more := self._throttle.admits(record.topic)) is not None:
            logger.error(
                "%s: %s can't be written, and its events wait; nothing is lost, it is tried again%s: %s",
                self._binding.name, record.topic, f" ({more} more)" if more else "", error,
            )  # fmt: skip
