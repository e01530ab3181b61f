"""Functions to configure. Imported by the tests under the name of this file."""

from __future__ import annotations

from bindings import Batch, DeadLetter, Retry, on_stream


class OutOfStock(Exception):
    """One of the user's own."""


@on_stream("orders", retry=Retry(max_attempts=3, initial=2.0), rate=5.0, where="value.total > 1", emits="results")
def check_limit(order: dict) -> dict:
    """One event at a time."""
    return order


@on_stream("orders", name="Count-Orders", batch=Batch(max_events=10), dead_letter=DeadLetter(stream="dead"))
def count(orders: list[dict]) -> None:
    """A batch."""


def undecorated(orders: list[dict]) -> None:
    """Bound by a configuration alone."""


def untyped(order) -> None:
    """Can't be bound: nothing says what it takes."""
