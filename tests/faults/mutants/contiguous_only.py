"""Commits the offset alone: what is done beyond it is forgotten with its owner, as in engines without an offset map."""

from __future__ import annotations

from dispatcher.core import partition


def apply() -> None:
    """Break it."""
    partition.fit_metadata = lambda *_, **__: ("", True)
