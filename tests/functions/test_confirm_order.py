"""confirm_order over batches of real orders."""

from collections.abc import Sequence
from typing import Any

import pytest

from bindings.testing import event, invoke
from functions.confirm_order.function import EnrichedOrder, confirm, confirm_order


@pytest.fixture(scope="module")
def orders(whole_orders: Sequence[dict[str, Any]]) -> Sequence[EnrichedOrder]:
    """The orders as this function reads them."""
    return [EnrichedOrder.model_validate(order) for order in whole_orders]


def test_each_order_of_a_batch_is_confirmed_under_its_own_key(orders: Sequence[EnrichedOrder]) -> None:
    """A batch of a hundred gives a hundred confirmations, in order, with the order's key and the event's id."""
    batch = [
        event(order, key=str(order.household_id), stream="orders.enriched", partition=3, offset=offset)
        for offset, order in enumerate(orders[:100])
    ]
    result = invoke(confirm_order, batch)
    assert result.outcome == "done"
    assert [emit.value.order_id for emit in result.emitted] == [order.order_id for order in orders[:100]]
    assert [emit.key for emit in result.emitted] == [str(order.household_id).encode() for order in orders[:100]]
    assert list(result.emitted[7].headers) == [("event-id", b"orders.enriched/3/7")]


def test_one_order_that_is_none_leaves_the_others_confirmed(orders: Sequence[EnrichedOrder]) -> None:
    """What can't be decoded is rejected alone; the rest of the batch is handled."""
    result = invoke(confirm_order, [orders[0], b"not an order", orders[1]])
    assert [each.outcome for each in result.events] == ["done", "reject", "done"]
    assert [emit.value.order_id for emit in result.emitted] == [orders[0].order_id, orders[1].order_id]


def test_the_text_tells_total_and_savings(orders: Sequence[EnrichedOrder]) -> None:
    """The customer reads what was paid, and what was saved when something was."""
    order = next(order for order in orders if len(order.lines) > 1)
    line = order.lines[0].model_copy(
        update={"retail_discount": 1.0, "coupon_discount": 0.5, "coupon_match": 0.25, "sales_value": 3.0}
    )
    saved = order.model_copy(update={"lines": [line], "total": 3.0})
    assert confirm(saved).text == "Thank you for your order of 1 item for $3.00. You saved $1.75."
    full = line.model_copy(update={"retail_discount": 0.0, "coupon_discount": 0.0, "coupon_match": 0.0})
    dear = order.model_copy(update={"lines": [full, full], "total": 6.0})
    assert confirm(dear).text == "Thank you for your order of 2 items for $6.00."
