"""Real orders for the functions: those of the first sixty households of the data set."""

from collections.abc import Sequence

import pytest

from functions.models import EnrichedOrder
from scripts.make_orders import make_orders


@pytest.fixture(scope="session")
def orders() -> Sequence[EnrichedOrder]:
    """All their orders of the year, by time, read as a function reads them."""
    return [EnrichedOrder.model_validate(order) for order in make_orders(households=60)]
