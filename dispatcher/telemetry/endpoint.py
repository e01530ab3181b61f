"""A small HTTP server on a thread and an event loop of its own: it answers while the functions' loop is blocked."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from dispatcher.errors import ConfigurationError

__all__ = ["Answer", "Endpoint", "Request", "Route"]

logger = logging.getLogger("dispatcher.telemetry")

_TEXT: Final = "text/plain; charset=utf-8"
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# What one request may take: a caller that dawdles must not hold up a probe.
_DEADLINE = 10.0
_LONGEST_HEAD = 16_384
_MOST_CONNECTIONS = 64


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        path: without the query.
        query: the names that stand in it; their values do not matter here.
        accept: the header of that name.
    """

    path: str
    query: frozenset[str]
    accept: str


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    content_type: str = _TEXT


Route = Callable[[Request], Awaitable[Answer]]


class Endpoint:
    """Serves GET and HEAD, one request a connection. An async context manager.

    Args:
        host, port: where; port 0 takes a free one.
        routes: path -> what answers; awaited on the server's own event loop.
    """

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self.host = host
        self.port = port
        self._routes = routes
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="monitoring", daemon=True)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._thread.start()
        try:
            self._server = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._start(), self._loop))
        except OSError as error:
            await self._end()
            raise ConfigurationError(
                f"monitoring: {self.host}:{self.port} can't be listened at: {error.strerror or error}"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        logger.info("metrics and health: http://%s:%d/metrics, /livez, /readyz", shown, self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._loop.call_soon_threadsafe(self._server.close)
        await self._end()

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, self.host, self.port, limit=_LONGEST_HEAD)

    async def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    def _cancel(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        ended = asyncio.gather(*tasks, return_exceptions=True)
        ended.add_done_callback(lambda _: self._loop.stop())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _MOST_CONNECTIONS:
                async with asyncio.timeout(_DEADLINE):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            await _read_to_the_end(reader)
            return _written(Answer(400, b"the request is too long\n"))
        line, *lines = head.split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _written(Answer(400, b"this is no HTTP/1.1 request\n"))
        method, target, _ = words
        if method not in {"GET", "HEAD"}:
            return _written(Answer(405, b"only GET and HEAD are answered\n"))
        fields = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        return _written(await self._routed(target, fields.get("accept", "")), with_body=method == "GET")

    async def _routed(self, target: str, accept: str) -> Answer:
        try:
            parts = urlsplit(target)
        except ValueError:
            return Answer(400, b"this is no path\n")
        route = self._routes.get(parts.path)
        if route is None:
            return Answer(404, f"there are {', '.join(self._routes)}\n".encode())
        query = frozenset(parse_qs(parts.query, keep_blank_values=True))
        try:
            return await route(Request(parts.path, query, accept))
        except Exception:
            logger.exception("%s could not be answered", parts.path)
            return Answer(500, b"a bug in the dispatcher; its log says more\n")


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    # A connection that is closed with bytes unread is reset, and the reset can overtake the answer.
    part = b""
    while b"\r\n\r\n" not in part and (more := await reader.read(_LONGEST_HEAD)):
        part = part[-3:] + more


def _written(answer: Answer, *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")
