"""Writes the smallest copy of a dead letter, whatever its topic takes."""

from __future__ import annotations

from typing import Any

from bindings import Binding
from dispatcher.core.record import Outgoing
from dispatcher.core.settlement import DeadLettered
from dispatcher.worker import producing
from dispatcher.worker.records import dead_letter, truncated


def apply() -> None:
    """Break it."""
    producing.dead_letter = cut  # type: ignore[attr-defined]


def cut(binding: Binding, letter: DeadLettered, _trace: Any = None) -> Outgoing:
    """It fits anywhere."""
    return truncated(dead_letter(binding, letter), 500)
