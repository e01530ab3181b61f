"""The functions that are measured: the same for every arm, one a kind of parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic_core import from_json

from benchmarks.clock import Clock
from benchmarks.orders import Order, work_of

__all__ = ["DECODERS", "PARAMETERS", "OrderStruct", "batch_handler", "handler", "working_handler"]


class OrderStruct(msgspec.Struct):
    """The same order, as msgspec has it."""

    id: int
    household: str
    store: int
    total: float


#: What a function asks for, by name.
PARAMETERS: dict[str, Any] = {"pydantic": Order, "dict": dict, "bytes": bytes, "msgspec": OrderStruct}

#: The fastest documented way from bytes to it, for arms that decode by hand; a dict as the dispatcher decodes it.
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "pydantic": Order.model_validate_json,
    "dict": from_json,
    "bytes": bytes,
    "msgspec": msgspec.json.Decoder(OrderStruct).decode,
}


def handler(clock: Clock, kind: str = "pydantic") -> Callable[[Any], Any]:
    """An async function of one event that does no work."""

    async def handle(_order: Any) -> None:
        clock.count()

    handle.__annotations__ = {"_order": PARAMETERS[kind], "return": None}
    return handle


def batch_handler(clock: Clock, kind: str = "pydantic") -> Callable[[list[Any]], Any]:
    """An async function of a batch that does no work."""

    async def handle(orders: list[Any]) -> None:
        clock.count(len(orders))

    handle.__annotations__ = {"orders": list[PARAMETERS[kind]], "return": None}
    return handle


def working_handler(clock: Clock) -> Callable[[Order], Any]:
    """An async function that waits for 0 to 5 ms, as its event says."""

    async def handle(order: Order) -> None:
        clock.begin()
        await asyncio.sleep(work_of(order.id) / 1000)
        clock.end()

    handle.__annotations__ = {"order": Order, "return": None}
    return handle
