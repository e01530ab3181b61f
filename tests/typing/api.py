"""How the public names are used, for the type checker: checked by mypy, never executed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

from pydantic import BaseModel

from bindings import Batch, BatchFailures, Binding, Context, Emit, Event, Reject, Retry, bindings_of, on_stream
from bindings.context import InvocationContext
from bindings.testing import Invocation, event, invoke, invoke_async


class Order(BaseModel):
    """An event."""

    household: str
    total: float


@on_stream("orders.enriched")
async def send_confirmation(order: Order) -> None:
    """The plainest function."""


@on_stream(
    "orders.enriched",
    "returns.enriched",
    order="partition",
    batch=Batch(max_events=100, max_bytes=6_000_000, max_wait=0.5),
    retry=Retry(max_attempts=5, give_up_on=(ValueError,), then="pause"),
    timeout=30,
    emits="limits.breached",
    dead_letter="orders.dead",
)
def check_limit(orders: list[Event[Order]], context: Context) -> list[Emit]:
    """A batch function that says all that can be said."""
    assert_type(orders[0].value, Order)
    assert_type(orders[0].key, bytes | None)
    context.logger.info("attempt %d, %.1f s left", context.attempt, context.remaining())
    context.emit(orders[0].value, key="k")
    if not orders:
        raise Retry.after(30)
    if orders[0].value.total < 0:
        raise Reject("a negative total")
    if orders[0].value.total > 1_000:
        raise BatchFailures({orders[0]: ValueError("too much"), 1: "a text"})
    return [Emit(order.value, key=order.key) for order in orders]


def plain(order: Order) -> float:
    """Decorated below."""
    return order.total


# The decorated function keeps its type.
keeps_async: Callable[[Order], Awaitable[None]] = send_confirmation
assert_type(on_stream("orders")(plain)(Order(household="h1", total=1.0)), float)
assert_type(check_limit([], InvocationContext("check_limit", "orders/0/1")), list[Emit])
assert_type(bindings_of(check_limit), tuple[Binding, ...])

# Mistakes are seen before the code runs: each of these lines needs its ignore.
on_stream("orders", retires=3)  # type: ignore[arg-type]
on_stream("orders", order="random")  # type: ignore[arg-type]
on_stream("orders", batch=100)  # type: ignore[arg-type]
on_stream(plain)  # type: ignore[arg-type]
plain(b"raw")  # type: ignore[arg-type]

# Tests of functions.
assert_type(event(Order(household="h1", total=1.0), key="h1"), Event[Order])
assert_type(invoke(check_limit, [event(b"raw")]), Invocation)


async def async_test() -> None:
    """In a running loop."""
    assert_type(await invoke_async(send_confirmation, {"household": "h1"}), Invocation)
