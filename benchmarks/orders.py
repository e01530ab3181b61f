"""The events and the models that all arms share."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

__all__ = ["KEYS", "Order", "key_of", "orders", "value_of", "work_of"]

#: As many as in the fault suites of others: a prime, so that keys and partitions do not fall into step.
KEYS = 2251


class Order(BaseModel):
    """The model that every arm decodes."""

    id: int
    household: str
    store: int
    total: float


def key_of(number: int, keys: int = KEYS) -> bytes:
    """The key of an event."""
    return str(number % keys).encode()


def value_of(number: int, keys: int = KEYS) -> bytes:
    """The value of an event, of some 60 bytes."""
    order = Order(id=number, household=f"h-{number % keys}", store=number % 97, total=number % 10_000 / 100)
    return order.model_dump_json().encode()


def orders(events: int, keys: int = KEYS) -> Iterator[tuple[bytes, bytes]]:
    """So many keys and values."""
    return ((key_of(number, keys), value_of(number, keys)) for number in range(events))


def work_of(number: int) -> int:
    """How many milliseconds the work of an event takes: 0 to 5, the same in every arm and in every run."""
    return (number * 2_654_435_761 >> 16 & 0x7FFF) % 6
