"""What goes wrong in a test."""

from __future__ import annotations

from dispatcher.errors import DispatchError

__all__ = ["Unsettled"]


class Unsettled(DispatchError):
    """Raised when a test waits for what will not happen; the message lists the events that are pending, and why."""
