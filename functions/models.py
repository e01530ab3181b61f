"""The shapes of ``orders.enriched`` and of what the functions make of it. All money is in US dollars."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

__all__ = ["Anomaly", "Breach", "Confirmation", "EnrichedOrder", "Household", "Line"]


class Household(BaseModel):
    """Who buys, as far as the household has told. The fields are bands: income ``"35-49K"``, age ``"45-54"``."""

    age: str
    income: str
    home_ownership: str | None
    marital_status: str | None
    household_size: str
    household_comp: str
    kids_count: str


class Line(BaseModel):
    """One line of the receipt, joined with its product. A product that the catalogue lacks has None.

    Attributes:
        quantity: pieces; of petrol it is thousandths of a gallon.
        sales_value: what the shop received for all of the line.
        retail_discount, coupon_discount, coupon_match: what was taken off by the loyalty card, by a
            manufacturer's coupon, and by the shop's match of that coupon.
    """

    product_id: int
    department: str | None
    category: str | None
    product: str | None
    brand: str | None
    quantity: int
    sales_value: float
    retail_discount: float
    coupon_discount: float
    coupon_match: float


class EnrichedOrder(BaseModel):
    """One basket with all that a function needs to know of it: no look-up is left to do.

    Attributes:
        time: by the shop's clock, so without a zone.
        household: None for those that have told nothing.
        total: the sum of the lines' sales values.
        orders_before, spent_before: the household's orders before this one, and their totals.
        spent_this_month: the part of ``spent_before`` that falls in this order's month.
    """

    order_id: int
    household_id: int
    store_id: int
    time: datetime
    household: Household | None
    lines: list[Line]
    total: float
    orders_before: int
    spent_before: float
    spent_this_month: float

    @property
    def usual_total(self) -> float | None:
        """The mean of the household's orders before this one; None for its first."""
        return self.spent_before / self.orders_before if self.orders_before else None


class Breach(BaseModel):
    """A household's spending of a month passed its limit with this order."""

    household_id: int
    order_id: int
    month: str
    limit: float
    spent: float


class Confirmation(BaseModel):
    """What is sent to the household about an order."""

    household_id: int
    order_id: int
    text: str


class Anomaly(BaseModel):
    """An order far from what its household usually spends."""

    household_id: int
    order_id: int
    total: float
    usual_total: float
    times: float
