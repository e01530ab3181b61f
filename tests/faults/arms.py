"""The arms of a row at once: most of their time is spent waiting, for processes to start and groups to form."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["side_by_side"]


def side_by_side(*arms: Callable[[], None]) -> None:
    """Run each in a thread; what one raises is raised here, once all have ended. Make the fleets before."""
    with ThreadPoolExecutor(len(arms)) as pool:
        for running in [pool.submit(arm) for arm in arms]:
            running.result()
