"""Writing what a settlement leaves: until the broker has it, or the partition has gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from bindings import Binding
from dispatcher.brokers.base import Broker, Producer
from dispatcher.core.delivery import Failure, FailureKind
from dispatcher.core.record import Outgoing
from dispatcher.core.retries import Reason
from dispatcher.core.settlement import DeadLettered, Settlement
from dispatcher.errors import BrokerError, RecordTooLarge
from dispatcher.telemetry.throttle import Throttle
from dispatcher.worker.records import dead_letter, retry_copy, truncated

__all__ = ["SettlementWriter"]

logger = logging.getLogger("dispatcher.worker")

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 10.0
# What is kept of the value of a dead letter that its topic does not take: enough to see what it was.
_KEPT_BYTES = 64_000


class SettlementWriter:
    """Produces dead letters and results with one producer, made when the first is due."""

    def __init__(self, binding: Binding, broker: Broker) -> None:
        self._binding = binding
        self._broker = broker
        self._producer: Producer | None = None
        self._making = asyncio.Lock()
        self._throttle = Throttle(10.0)

    async def write(self, settlement: Settlement, results: Sequence[Outgoing]) -> bool:
        """Produce all records of a settlement; False when its partitions went before that could be done.

        A topic that refuses or is down holds up its own events and no others: their offsets are not
        committed, and the write is tried again, at most every 10 s.
        """
        left: list[Outgoing] = [
            *results,
            *(dead_letter(self._binding, letter) for letter in settlement.dead),
            *(retry_copy(self._binding, moved) for moved in settlement.moved),
        ]
        wait = _FIRST_WAIT
        while left:
            try:
                producer = await self._get_producer()
            except BrokerError as error:
                outcomes: Sequence[object] = [error] * len(left)
            else:
                outcomes = await asyncio.gather(*(producer.send(record) for record in left), return_exceptions=True)
            failed: list[Outgoing] = []
            for record, outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, RecordTooLarge):
                    failed += self._shrink(settlement, record, outcome)
                elif isinstance(outcome, BrokerError):
                    self._complain(record, outcome)
                    failed.append(record)
                elif isinstance(outcome, BaseException):
                    raise outcome
            if not failed:
                return True
            if not any(delivery.partition.active for delivery in settlement.deliveries()):
                return False
            if len(failed) == len(left):
                await asyncio.sleep(wait)
                wait = min(_LONGEST_WAIT, 2 * wait)
            left = failed
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

    def _shrink(self, settlement: Settlement, record: Outgoing, error: RecordTooLarge) -> list[Outgoing]:
        """What to write instead of a record that its topic does not take."""
        if any(letter.failure.error_type == "RecordTooLarge" for letter in settlement.dead) or not settlement.done:
            logger.error(
                "%s: a dead letter is too large for it and is cut to %d bytes: %s", record.topic, _KEPT_BYTES, error
            )
            return [truncated(record, _KEPT_BYTES)]
        # A result that is too large will be so at each attempt: its events are dead letters.
        failure = Failure(
            kind=FailureKind.TERMINAL,
            error_type="RecordTooLarge",
            message=f"its result is too large for {record.topic}: {error}",
        )
        letters = []
        for delivery in settlement.done:
            delivery.remember().failure = failure
            letters.append(DeadLettered(delivery, Reason.OVERSIZE, failure))
        settlement.done.clear()
        settlement.dead.extend(letters)
        return [dead_letter(self._binding, letter) for letter in letters]

    def _complain(self, record: Outgoing, error: BrokerError) -> None:
        if (more := self._throttle.admits(record.topic)) is not None:
            logger.error(
                "%s: %s can't be written, and its events wait; nothing is lost, it is tried again%s: %s",
                self._binding.name, record.topic, f" ({more} more)" if more else "", error,
            )  # fmt: skip
