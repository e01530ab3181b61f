"""Real servers for the hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from host_servers import HostServers


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], str]]:
    """Starts a host and returns its URL: ``serve("asgi", "application")``, ``serve("http", "main")``."""
    with HostServers(tmp_path_factory.mktemp("hosts")) as servers:
        yield servers.start
