"""Lets new events wait for room in the commit metadata, however little the broker takes."""

from __future__ import annotations

from dispatcher.core import partition


def apply() -> None:
    """Break it."""
    partition._LEAST_TO_WAIT_FOR = 0
