"""What the tests of the target ``http`` share: endpoints that behave and endpoints that do not, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiohttp import web
from process_functions import OUT, STREAM

from bindings import Batch, Binding, Retry
from bindings.decorator import bind
from bindings.envelopes.record import WireRecord
from dispatcher.config.elsewhere import function_elsewhere, functions_elsewhere
from dispatcher.config.targets import HttpTarget
from dispatcher.core.delivery import Delivery
from dispatcher.core.offsets import OffsetMap
from dispatcher.core.partition import Partition
from dispatcher.core.record import TopicPartition
from dispatcher.invokers.http.invoker import HttpInvoker

#: One attempt: what counts as one is a dead letter at once.
ONCE = Retry(max_attempts=1, initial=0.0)


def remote(*, batch: int = 0, emits: bool = False, **changes: Any) -> Binding:
    """A binding of a function that has no code here, of batches of up to so many events."""
    made = bind(functions_elsewhere if batch else function_elsewhere, STREAM, name="there")
    given: dict[str, Any] = {"retry": ONCE, "emits": OUT if emits else None}
    if batch:
        given["batch"] = Batch(max_events=batch, max_wait=0.05)
    return replace(made, **{**given, **changes})


def target_of(url: str, **options: Any) -> HttpTarget:
    """A target, as a configuration says it."""
    return HttpTarget.model_validate({"type": "http", "url": url, **options})


def event(
    value: bytes | None = b"{}",
    *,
    key: bytes | None = b"k",
    offset: int = 7,
    attempts: int = 0,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> Delivery:
    """A delivery of one event."""
    record = WireRecord(STREAM, 3, offset, 1_700_000_000_000, key, value, tuple(headers))
    made = Delivery(record, Partition(TopicPartition(STREAM, 3), 0, OffsetMap()), None, 1)
    if attempts:
        made.remember().attempts = attempts
    return made


@asynccontextmanager
async def invoker_of(binding: Binding, target: HttpTarget, **parts: Any) -> AsyncIterator[HttpInvoker]:
    """An invoker for calls by hand."""
    made = HttpInvoker(binding, target, **parts)
    try:
        yield made
    finally:
        await made.close()


class Got(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Service:
    """A service that behaves: it keeps what it got and answers with what ``answer`` makes of it."""

    answer: Callable[[Got, int], web.StreamResponse | Awaitable[web.StreamResponse]] = lambda *_: web.Response(
        status=204
    )
    got: list[Got] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    running: int = 0
    most_running: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://localhost:{self.port}/in"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep a request and answer it."""
        got = Got(
            request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read()
        )
        self.got.append(got)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            made = self.answer(got, len(self.got))
            return await made if isinstance(made, Awaitable) else made
        finally:
            self.running -= 1


@asynccontextmanager
async def serving(
    answer: Callable[[Got, int], Any] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Service]:
    """Serve until the end of the block."""
    service = Service() if answer is None else Service(answer)
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, reuse_address=True)
        await site.start()
        service.port = runner.addresses[0][1]
        service.scheme = "https" if tls else "http"
        yield service
    finally:
        await runner.cleanup()


Misbehaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Wire:
    """A server of bytes that misbehaves: so many times, and then answers 204."""

    misbehave: Misbehaviour
    times: int = 1_000_000
    requests: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/in"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests, and treat each as it is to be treated."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
                await reader.readexactly(length)
                self.requests += 1
                if self.requests <= self.times:
                    await self.misbehave(reader, writer)
                    break
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()


@asynccontextmanager
async def misbehaving(misbehave: Misbehaviour, times: int = 1_000_000) -> AsyncIterator[Wire]:
    """Serve until the end of the block."""
    wire = Wire(misbehave, times)
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await wire.serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def free_port() -> int:
    """A port of loopback at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- misbehaviour


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up with a reset, after the request."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Hang up politely, after the request."""


async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def drip_headers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a header that never ends, byte by byte."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a body that never ends, byte by byte."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def half_a_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hang up within the body."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()


async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak something else than HTTP."""
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await writer.drain()


async def huge_announced(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Announce a body of a terabyte, and begin it."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n" + b"a" * 65536)
    await asyncio.sleep(3600)


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send chunks for ever, as fast as they are taken."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    while True:
        writer.write(chunk)
        await writer.drain()
