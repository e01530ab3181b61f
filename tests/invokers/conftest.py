"""A stage for each test of a target."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from host_servers import HostServers
from stage import Stage

from dispatcher.brokers.embedded import EmbeddedBroker


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A broker of the test's own."""
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=5.0) as broker:
        yield Stage(broker)


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServers]:
    """Real servers with decorated functions, each started when it is first asked for."""
    with HostServers(tmp_path_factory.mktemp("hosts")) as servers:
        yield servers
