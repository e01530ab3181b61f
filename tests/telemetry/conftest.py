"""The command that these tests type, watched over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from collector import Collector
from command_line import Dispatch, bytecode, dispatch
from scraping import Watched, watch

__all__ = ["bytecode", "dispatch"]


@pytest.fixture
def watched(dispatch: Dispatch) -> Watched:
    """Has the command run, with its endpoint at a free port."""
    return watch(dispatch)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """It listens."""
    made = Collector()
    yield made
    made.close()
