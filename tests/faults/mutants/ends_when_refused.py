"""A consumer that ends at its first refused commit, as many do that let the client's error through."""

from __future__ import annotations

from dispatcher.brokers.kafka.consumer import KafkaConsumer
from dispatcher.errors import CommitRefused, DispatchError


def apply() -> None:
    """Have a refused commit end the function."""
    commit = KafkaConsumer.commit

    async def committing(self, offsets):  # type: ignore[no-untyped-def]
        try:
            await commit(self, offsets)
        except CommitRefused as error:
            raise DispatchError(str(error)) from error

    KafkaConsumer.commit = committing  # type: ignore[method-assign]
