"""Test functions on the real dispatcher, with a broker in memory and virtual time: :func:`dispatching`.

For a function alone, with no dispatcher, there is :mod:`bindings.testing`.
"""

from __future__ import annotations

from dispatcher.testing.dispatching import AsyncDispatching, Dispatching, dispatching
from dispatcher.testing.errors import Unsettled
from dispatcher.testing.log import Log, MemoryRecord
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.members import Member
from dispatcher.testing.memory import MemoryBroker
from dispatcher.testing.records import Call, Letter, StoredEvent
from dispatcher.testing.threads import sleep

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # run functions
    "dispatching",
    "sleep",
    # what that gives
    "Dispatching",
    "AsyncDispatching",
    "Call",
    "Letter",
    "Member",
    "StoredEvent",
    "Unsettled",
    # the parts
    "Log",
    "MemoryBroker",
    "MemoryRecord",
    "VirtualLoop",
]
