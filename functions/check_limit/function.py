"""Tell when a household has spent more in a month than the limit for its income."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from bindings import on_stream

#: Dollars a month by income band: nine months of ten of such a household stay below.
LIMITS = {
    "Under 15K": 450.0,
    "15-24K": 450.0,
    "25-34K": 500.0,
    "35-49K": 500.0,
    "50-74K": 550.0,
    "75-99K": 600.0,
    "100-124K": 600.0,
    "125-149K": 750.0,
    "150-174K": 750.0,
    "175-199K": 750.0,
    "200-249K": 750.0,
    "250K+": 900.0,
}
#: For a household that has not told its income.
DEFAULT_LIMIT = 400.0


class Household(BaseModel):
    """Who buys. ``income`` is a band: ``"35-49K"``."""

    income: str


class EnrichedOrder(BaseModel):
    """What this function reads of one basket in ``orders.enriched``. All money is in US dollars.

    Attributes:
        time: by the shop's clock, so without a zone.
        household: None for those that have told nothing.
        total: the sum of the lines' sales values.
        spent_this_month: what the household had spent before this order in its month.
    """

    order_id: int
    household_id: int
    time: datetime
    household: Household | None
    total: float
    spent_this_month: float


class Breach(BaseModel):
    """A household's spending of a month passed its limit with this order."""

    household_id: int
    order_id: int
    month: str
    limit: float
    spent: float


@on_stream("orders.enriched", emits="limits.breached")
async def check_limit(order: EnrichedOrder) -> Breach | None:
    """Return a breach for the one order with which the month's spending passes the limit, else None.

    The event carries the month's spending so far and the income, so that nothing is looked up. Order by key
    (the default) keeps the breaches of one household in the order of its purchases.
    """
    limit = LIMITS.get(order.household.income, DEFAULT_LIMIT) if order.household else DEFAULT_LIMIT
    spent = round(order.spent_this_month + order.total, 2)
    if not order.spent_this_month <= limit < spent:
        return None
    return Breach(
        household_id=order.household_id,
        order_id=order.order_id,
        month=f"{order.time:%Y-%m}",
        limit=limit,
        spent=spent,
    )
