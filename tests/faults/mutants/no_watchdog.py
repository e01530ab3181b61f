"""Nobody watches the event loop."""

from __future__ import annotations

from dispatcher.telemetry.watchdog import LoopWatchdog


def apply() -> None:
    """Have the watchdog say nothing."""
    LoopWatchdog._report = lambda *_: None  # type: ignore[method-assign]
