"""Bindings of the tests: the defaults, and each policy that AWS's own trigger can't keep as it is."""

from __future__ import annotations

from typing import Any

from bindings import Batch, Retry, on_stream


@on_stream("orders")
def plain(order: dict[str, Any]) -> None:
    """All defaults."""


@on_stream(
    "orders",
    order="partition",
    batch=Batch(max_events=500, max_wait=5.0),
    retry=Retry(max_attempts=4, max_age=3600.0),
    dead_letter="orders.dead",
    start="latest",
    timeout=30.0,
)
def near(orders: list[dict[str, Any]]) -> None:
    """As near to a mapping as a binding can be."""


@on_stream(
    "orders",
    "refunds",
    order="none",
    batch=Batch(max_events=10_000, max_bytes=1_000_000, max_wait=0.2),
    retry=Retry(max_attempts=3, max_age=5.0, then="drop"),
    where='value.total > 100.0 && headers["kind"] == "x"',
    emits="results",
    start="-2h",
    rate=50.0,
    timeout=3600.0,
)
def far(orders: list[dict[str, Any]]) -> dict[str, Any]:
    """As far from one."""
    return {}


@on_stream(
    "orders",
    batch=Batch(max_events=10, group_by="key"),
    retry=Retry(then="pause"),
    where='value.total > 100.0 && value.country in ["DE", "FR"]',
    start="2026-01-01T00:00:00+00:00",
    timeout=0.5,
)
def pausing(orders: list[dict[str, Any]]) -> None:
    """Pauses when it can't go on."""
