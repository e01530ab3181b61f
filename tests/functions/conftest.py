"""Real orders for the functions: those of the first sixty households of the data set."""

from collections.abc import Sequence
from typing import Any

import pytest

from scripts.make_orders import make_orders


@pytest.fixture(scope="session")
def whole_orders() -> Sequence[dict[str, Any]]:
    """All their orders of the year, by time, as they are in the stream."""
    return list(make_orders(households=60))
