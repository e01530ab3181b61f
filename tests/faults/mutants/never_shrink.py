"""Tries a dead letter that its topic does not take again and again, as it is."""

from __future__ import annotations

from dispatcher.worker.producing import SettlementWriter


def apply() -> None:
    """Break it."""
    SettlementWriter._shrink = lambda *_: None  # type: ignore[assignment, method-assign]
