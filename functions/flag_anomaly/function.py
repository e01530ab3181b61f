"""Flag orders that are far from what their household usually spends: with retries, and with dead letters."""

from __future__ import annotations

from pydantic import BaseModel

from bindings import Context, Reject, Retry, on_stream

#: Thousandths of a gallon in one sale of petrol: no car's tank holds more than 30 gallons.
MAX_QUANTITY = 30_000
#: An order is flagged from this many times the usual total, once there is a usual total to speak of.
MIN_TIMES = 5.0
MIN_ORDERS_BEFORE = 5


class Line(BaseModel):
    """One line of the receipt. ``quantity`` is pieces; of petrol it is thousandths of a gallon."""

    product_id: int
    quantity: int


class EnrichedOrder(BaseModel):
    """What this function reads of one basket in ``orders.enriched``. All money is in US dollars.

    Attributes:
        orders_before, spent_before: the household's orders before this one, and their totals.
    """

    order_id: int
    household_id: int
    lines: list[Line]
    total: float
    orders_before: int
    spent_before: float

    @property
    def usual_total(self) -> float | None:
        """The mean of the household's orders before this one; None for its first."""
        return self.spent_before / self.orders_before if self.orders_before else None


class Anomaly(BaseModel):
    """An order far from what its household usually spends."""

    household_id: int
    order_id: int
    total: float
    usual_total: float
    times: float


class ScoringUnavailable(Exception):
    """Raised when the scoring service does not answer: worth another attempt."""


@on_stream(
    "orders.enriched",
    retry=Retry(max_attempts=3, initial=0.05, give_up_on=(ValueError,)),
    emits="orders.anomalies",
)
async def flag_anomaly(order: EnrichedOrder, context: Context) -> Anomaly | None:
    """Return an anomaly for an order of at least five times the usual total, else None.

    Three ways to fail: ``Reject`` for an order that is none, ``ValueError`` (in ``give_up_on``, so not tried
    again) for one with an impossible line, and ``ScoringUnavailable`` for a service that may be back.

    Raises:
        Reject: no money changed hands.
        ValueError: a quantity is impossible.
        ScoringUnavailable: this attempt found no service.
    """
    if order.total <= 0:
        raise Reject(f"order {order.order_id} has a total of ${order.total:.2f}: nothing was sold")
    for line in order.lines:
        if line.quantity > MAX_QUANTITY:
            raise ValueError(f"order {order.order_id}: {line.quantity:,} of product {line.product_id} in one sale")
    times = await score(order, attempt=context.attempt)
    usual = order.usual_total
    if usual is None or order.orders_before < MIN_ORDERS_BEFORE or times < MIN_TIMES:
        return None
    context.logger.debug("order of %.1f times the usual total", times)
    return Anomaly(
        household_id=order.household_id,
        order_id=order.order_id,
        total=order.total,
        usual_total=round(usual, 2),
        times=round(times, 1),
    )


async def score(order: EnrichedOrder, *, attempt: int) -> float:
    """How many times the usual total this order is; 1.0 where there is none.

    This stands in for a call to a scoring service. As a real one would, it fails at times, but by a rule, so
    that each run shows the same: for orders whose number ends in 00 at the first attempt, and for those of
    them whose number ends in 000 at the second too.
    """
    if (attempt == 1 and order.order_id % 100 == 0) or (attempt == 2 and order.order_id % 1000 == 0):
        raise ScoringUnavailable(f"no answer for order {order.order_id}")
    return order.total / order.usual_total if order.usual_total else 1.0
