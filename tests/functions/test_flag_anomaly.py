"""flag_anomaly over real orders: what it flags, what it tries again, what it gives up."""

from collections.abc import Sequence
from typing import Any

import pytest

from bindings import Reject
from bindings.testing import invoke
from functions.flag_anomaly.function import (
    MAX_QUANTITY,
    MIN_ORDERS_BEFORE,
    MIN_TIMES,
    Anomaly,
    EnrichedOrder,
    ScoringUnavailable,
    flag_anomaly,
)


@pytest.fixture(scope="module")
def orders(whole_orders: Sequence[dict[str, Any]]) -> Sequence[EnrichedOrder]:
    """The orders as this function reads them."""
    return [EnrichedOrder.model_validate(order) for order in whole_orders]


def test_every_order_ends_within_its_three_attempts(orders: Sequence[EnrichedOrder]) -> None:
    """Over the real stream each order is handled or given up by its third attempt; some fail once, some twice,
    some for good, and a second run over them gives the same."""

    def attempts_of(order: EnrichedOrder) -> tuple[str, int]:
        for attempt in (1, 2, 3):
            outcome = invoke(flag_anomaly, order, attempt=attempt).outcome
            if outcome != "failed":
                return outcome, attempt
        return "failed", 3

    part = [order for order in orders if order.order_id % 100 == 0 or order.total <= 0] + list(orders[:100])
    first = [attempts_of(order) for order in part]
    assert set(first) == {("done", 1), ("done", 2), ("done", 3), ("reject", 1)}
    assert [attempts_of(order) for order in part] == first


def test_a_flag_means_five_times_the_usual(orders: Sequence[EnrichedOrder]) -> None:
    """Of the orders that are tried, those of five times the mean before them are flagged, and no other."""
    tried = [order for order in orders if order.total > 0 and order.orders_before >= MIN_ORDERS_BEFORE]
    far = [order for order in tried if order.total >= MIN_TIMES * order.spent_before / order.orders_before]
    near = [order for order in tried if order not in far][:200]
    assert len(far) > 10
    for order in far:
        [emit] = invoke(flag_anomaly, order, attempt=3).emitted
        assert isinstance(emit.value, Anomaly)
        assert (emit.value.order_id, emit.value.total) == (order.order_id, order.total)
        assert emit.value.times >= MIN_TIMES
    assert all(invoke(flag_anomaly, order, attempt=3).emitted == () for order in near)


def test_a_household_without_a_past_is_not_flagged(orders: Sequence[EnrichedOrder]) -> None:
    """A first order has no usual total to be far from."""
    order = next(order for order in orders if order.orders_before == 0)
    assert order.usual_total is None
    result = invoke(flag_anomaly, order.model_copy(update={"total": 10_000.0}), attempt=3)
    assert (result.outcome, result.emitted) == ("done", ())


def test_nothing_sold_is_rejected(orders: Sequence[EnrichedOrder]) -> None:
    """The data has real baskets without a cent: each goes to the dead letters with the reason, at once."""
    order = next(order for order in orders if order.total == 0)
    result = invoke(flag_anomaly, order)
    assert result.outcome == "reject"
    assert isinstance(result.error, Reject)
    assert "nothing was sold" in str(result.error)


def test_an_impossible_quantity_is_given_up(orders: Sequence[EnrichedOrder]) -> None:
    """``give_up_on`` makes the ValueError final: no attempt is spent on what can't change."""
    order = next(order for order in orders if order.total > 0)

    def of(quantity: int) -> EnrichedOrder:
        return order.model_copy(update={"lines": [order.lines[0].model_copy(update={"quantity": quantity})]})

    result = invoke(flag_anomaly, of(MAX_QUANTITY + 1))
    assert result.outcome == "reject"
    assert isinstance(result.error, ValueError)
    assert invoke(flag_anomaly, of(MAX_QUANTITY), attempt=3).outcome == "done"


@pytest.mark.parametrize(("order_id", "fails"), [(41_001, 0), (41_100, 1), (41_000, 2)])
def test_the_service_is_away_by_rule(orders: Sequence[EnrichedOrder], order_id: int, fails: int) -> None:
    """How often an order fails follows from its number and the attempt alone, so that every run shows the same."""
    order = next(order for order in orders if order.total > 0).model_copy(update={"order_id": order_id})
    results = [invoke(flag_anomaly, order, attempt=attempt) for attempt in (1, 2, 3)]
    assert [result.outcome for result in results] == ["failed"] * fails + ["done"] * (3 - fails)
    assert all(isinstance(result.error, ScoringUnavailable) for result in results[:fails])
