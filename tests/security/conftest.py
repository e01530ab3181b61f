"""The command that these tests type, and a corner of a broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import bytecode, dispatch

from dispatcher.brokers.embedded import EmbeddedBroker
from tests.worker.bench import Bench

__all__ = ["bytecode", "dispatch"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The test's corner of an embedded broker."""
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=5.0) as broker:
        yield Bench(broker, None)
