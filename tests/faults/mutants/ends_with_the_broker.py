"""A worker that ends when the broker is gone, and does not wait long to think so."""

from __future__ import annotations

from dispatcher.brokers.kafka import consumer
from dispatcher.errors import BrokerUnavailable, DispatchError
from dispatcher.worker import Worker


def apply() -> None:
    """Make an end of the first BrokerUnavailable."""
    consumer._SILENT_REQUESTS = 0.1  # type: ignore[assignment]
    consume = Worker._consume

    async def once(self: Worker) -> None:
        try:
            await consume(self)
        except BrokerUnavailable as error:
            raise DispatchError(str(error)) from error

    Worker._consume = once  # type: ignore[method-assign]
