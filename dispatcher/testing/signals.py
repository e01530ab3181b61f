"""How those who wait for the log or for a group learn that it has changed."""

from __future__ import annotations

import asyncio

__all__ = ["Signal"]


class Signal:
    """Wakes all who wait at once. Look first, then wait, with nothing awaited in between: no change is missed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake those who wait now."""
        for future in self._waiting:
            _release(future)

    async def wait(self, seconds: float | None = None) -> None:
        """Return at the next :meth:`notify`, or after that many seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.add(future)
        timer = None if seconds is None else loop.call_later(max(0.0, seconds), _release, future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if timer is not None:
                timer.cancel()


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
