"""A stage for each test of a target."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stage import Stage

from dispatcher.brokers.embedded import EmbeddedBroker


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A broker of the test's own."""
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=5.0) as broker:
        yield Stage(broker)
