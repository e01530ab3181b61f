"""Settings: where they are read from, what they may say, and where each one came from.

This module is light; :mod:`dispatcher.config.configuration` reads, and imports what that takes.
"""

from __future__ import annotations

from dispatcher.config.settings import DEFAULT_BROKER, Settings, broker_kind

__all__ = ["DEFAULT_BROKER", "Settings", "broker_kind"]
