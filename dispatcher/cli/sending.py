"""From lines to events: reading, checking, and many sends in flight."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dispatcher.brokers.base import Broker, Producer
from dispatcher.core.record import Outgoing
from dispatcher.telemetry.report import can_animate
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineError", "Lines", "Sending", "progress"]

_IN_FLIGHT: Final = 1_000
_CHUNK: Final = 1 << 18


class LineError(Exception):
    """Raised at a line that can't be an event."""


class Lines:
    """The lines of a file or of stdin (``-``) as they come, without waiting for more than one.

    A thread reads, by the file's descriptor: what is typed or piped arrives at any time, and a thread that waits in
    Python's own buffer for stdin would keep the process from ending.
    """

    def __init__(self, file: str) -> None:
        self._descriptor = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
        self._owned = file != "-"

    async def chunks(self) -> AsyncIterator[list[bytes]]:
        """Whole lines without their ends, as many as there are at once."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        room = threading.Semaphore(4)
        threading.Thread(target=self._read, args=(loop, queue, room), daemon=True, name="dispatch-send").start()
        rest = b""
        while True:
            data = await queue.get()
            if isinstance(data, OSError):
                raise LineError(f"can't be read: {data.strerror}")
            if not data:
                break
            room.release()
            *lines, last = data.split(b"\n")
            if lines:
                lines[0] = rest + lines[0]
                rest = last
                yield lines
            else:
                rest += last
        if rest:
            yield [rest]

    def _read(
        self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[bytes | OSError], room: threading.Semaphore
    ) -> None:
        data: bytes | OSError = b"-"
        while data and isinstance(data, bytes):
            room.acquire()
            try:
                data = os.read(self._descriptor, _CHUNK)
            except OSError as error:
                data = error
            try:
                loop.call_soon_threadsafe(queue.put_nowait, data)
            except RuntimeError:  # the loop has ended: nobody reads on
                break
        if self._owned:
            os.close(self._descriptor)


class Sending:
    """Sends lines to one stream, and counts what was acknowledged.

    Args:
        stream: where to.
        key: the dotted path of the field that is the key, or None for events without one.
        headers: of each event.
        rate: events a second at the most.
        raw: lines are sent as they are.
    """

    def __init__(
        self,
        stream: str,
        *,
        key: str | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        rate: float | None = None,
        raw: bool = False,
    ) -> None:
        self.stream = stream
        self.sent = 0
        self.partitions: Counter[int] = Counter()
        self._path = key.split(".") if key else None
        self._headers = headers
        self._rate = rate
        self._raw = raw
        self._line = 0

    async def run(self, broker: Broker, lines: Lines) -> None:
        """Send all lines; at the first that is refused, those before it are still brought in.

        Raises:
            LineError: a line can't be an event; the message names it.
            BrokerError: the broker took one no more.
        """
        producer = await broker.producer()
        flying: deque[asyncio.Task[None]] = deque()
        began = time.monotonic()
        started = 0
        try:
            async for chunk in lines.chunks():
                for line in chunk:
                    self._line += 1
                    record = self._event(line)
                    if record is None:
                        continue
                    if self._rate is not None:
                        await asyncio.sleep(began + started / self._rate - time.monotonic())
                    while flying and (len(flying) >= _IN_FLIGHT or flying[0].done()):
                        await flying.popleft()
                    started += 1
                    flying.append(asyncio.create_task(self._send(producer, record)))
        finally:
            problems = [e for e in await asyncio.gather(*flying, return_exceptions=True) if e is not None]
            await producer.close()
        if problems:
            raise problems[0]

    async def _send(self, producer: Producer, record: Outgoing) -> None:
        partition, _ = await producer.send(record)
        self.sent += 1
        self.partitions[partition] += 1

    def _event(self, line: bytes) -> Outgoing | None:
        if self._raw:
            return Outgoing(topic=self.stream, value=line, headers=self._headers)
        if self._line == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if not line:
            return None
        try:
            value = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise LineError(f"line {self._line} is not JSON: {error} (--raw sends lines as they are)") from None
        return Outgoing(topic=self.stream, value=line, key=self._key(value), headers=self._headers)

    def _key(self, value: Any) -> bytes | None:
        if self._path is None:
            return None
        for field in self._path:
            value = value.get(field) if isinstance(value, dict) else None
        if value is None:
            raise LineError(f"line {self._line} has no {'.'.join(self._path)!r}, which --key asks for")
        return (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


@contextlib.asynccontextmanager
async def progress(sending: Sending, console: Console) -> AsyncIterator[None]:
    """Say how far it is: on a terminal a line that changes, elsewhere a line every five seconds."""
    began = time.monotonic()

    def text() -> str:
        return f"sent {number(sending.sent)} events, {number(sending.sent / (time.monotonic() - began))}/s"

    async def watch() -> None:
        if not can_animate(console):
            while True:
                await asyncio.sleep(5.0)
                console.print(text())
        with console.status(text()) as status:
            while True:
                await asyncio.sleep(0.2)
                status.update(text())

    task = asyncio.create_task(watch(), name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
