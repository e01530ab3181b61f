"""Confirm orders, many at a time."""

from __future__ import annotations

from pydantic import BaseModel

from bindings import Batch, Context, Event, on_stream


class Line(BaseModel):
    """One line of the receipt: what was taken off by the loyalty card, by a coupon, and by the shop's match of it."""

    retail_discount: float
    coupon_discount: float
    coupon_match: float


class EnrichedOrder(BaseModel):
    """What this function reads of one basket in ``orders.enriched``. All money is in US dollars."""

    order_id: int
    household_id: int
    lines: list[Line]
    total: float


class Confirmation(BaseModel):
    """What is sent to the household about an order."""

    household_id: int
    order_id: int
    text: str


@on_stream("orders.enriched", batch=Batch(max_events=100, max_wait=0.5), emits="orders.confirmations")
async def confirm_order(orders: list[Event[EnrichedOrder]], context: Context) -> None:
    """Emit one confirmation an order, keyed as the order was.

    What is emitted is produced only when the whole batch has succeeded. ``Event`` gives the record's key, and
    its id: a receiver that has seen ``event-id`` before drops the copy, which "at least once" may bring.
    """
    for event in orders:
        context.emit(confirm(event.value), key=event.key, headers=(("event-id", event.id.encode()),))


def confirm(order: EnrichedOrder) -> Confirmation:
    """Write the confirmation of one order."""
    saved = sum(line.retail_discount + line.coupon_discount + line.coupon_match for line in order.lines)
    lines = "1 item" if len(order.lines) == 1 else f"{len(order.lines)} items"
    text = f"Thank you for your order of {lines} for ${order.total:.2f}."
    if saved >= 0.01:
        text += f" You saved ${saved:.2f}."
    return Confirmation(household_id=order.household_id, order_id=order.order_id, text=text)
