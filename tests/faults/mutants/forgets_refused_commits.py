"""Nothing is kept of what was done in an ownership whose last commit was refused."""

from __future__ import annotations

from dispatcher.worker.unsaved import Unsaved


def apply() -> None:
    """Have the worker forget it."""
    Unsaved.keep = lambda *_: None  # type: ignore[method-assign]
