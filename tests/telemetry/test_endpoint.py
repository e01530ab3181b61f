"""The small HTTP server by itself, with real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from dispatcher.config import Settings
from dispatcher.config.settings import address
from dispatcher.errors import ConfigurationError
from dispatcher.telemetry.endpoint import Answer, Endpoint, Request


async def _echo(request: Request) -> Answer:
    return Answer(200, f"{request.path} {sorted(request.query)} {request.accept}\n".encode())


async def _broken(_: Request) -> Answer:
    raise LookupError("secret")


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """It serves two routes."""
    async with Endpoint("127.0.0.1", 0, {"/echo": _echo, "/broken": _broken}) as made:
        yield made


async def ask(port: int, request: bytes, *, end: bool = True) -> str:
    """What comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request + (b"\r\n\r\n" if end else b""))
        async with asyncio.timeout(5):
            return (await reader.read()).decode()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (b"GET /echo HTTP/1.1", 200, "/echo [] \n"),
        (b"GET /echo?verbose&a=b HTTP/1.0\r\naccept: text/plain", 200, "/echo ['a', 'verbose'] text/plain\n"),
        (b"HEAD /echo HTTP/1.1", 200, ""),
        (b"POST /echo HTTP/1.1", 405, "only GET and HEAD are answered\n"),
        (b"GET / HTTP/1.1", 404, "there are /echo, /broken\n"),
        (b"GET //[ HTTP/1.1", 400, "this is no path\n"),
        (b"GET /broken HTTP/1.1", 500, "a bug in the dispatcher; its log says more\n"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "this is no HTTP/1.1 request\n"),
        (b"GET /echo HTTP/1.1\r\na: " + b"b" * 400_000, 400, "the request is too long\n"),
    ],
)
async def test_each_request_has_its_answer(endpoint: Endpoint, request_: bytes, status: int, body: str) -> None:
    """GET and HEAD are answered, with a length and a closed connection; what is no request, or too long, is refused; an error of
    a route tells the caller nothing of itself."""
    answer = await ask(endpoint.port, request_)
    head, _, said = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "Connection: close" in head
    assert said == body
    if not request_.startswith(b"HEAD"):
        assert f"Content-Length: {len(body)}" in head
    assert "secret" not in answer


async def test_callers_that_dawdle_hold_up_nobody(endpoint: Endpoint) -> None:
    """With as many silent connections as it takes less one, a probe is answered at once; past that number connections are closed,
    and the first that ends makes room."""
    idle = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(63)]
    assert (await ask(endpoint.port, b"GET /echo HTTP/1.1")).startswith("HTTP/1.1 200")
    idle.append(await asyncio.open_connection("127.0.0.1", endpoint.port))
    with pytest.raises(OSError):  # noqa: PT012 - closed with an answer unread, or with none
        if not await ask(endpoint.port, b"GET /echo HTTP/1.1"):
            raise ConnectionResetError
    for _, writer in idle:
        writer.close()

    async def answered() -> bool:
        try:
            return (await ask(endpoint.port, b"GET /echo HTTP/1.1")).startswith("HTTP/1.1 200")
        except OSError:
            return False

    async with asyncio.timeout(5):
        while not await answered():
            await asyncio.sleep(0.01)


async def test_it_ends_with_callers_connected() -> None:
    """An open connection does not hold up the end of the process, and afterwards nothing listens."""
    async with Endpoint("127.0.0.1", 0, {"/echo": _echo}) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        assert (await ask(endpoint.port, b"GET /echo HTTP/1.1")).startswith("HTTP/1.1 200")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(("127.0.0.1", endpoint.port))


@pytest.mark.parametrize(
    ("said", "host", "port"),
    [
        (9464, "127.0.0.1", 9464),
        ("9464", "127.0.0.1", 9464),
        ("0.0.0.0:80", "0.0.0.0", 80),  # noqa: S104 - asked for
        ("[::1]:9464", "::1", 9464),
        ("pod.local:0", "pod.local", 0),
    ],
)
def test_an_address_is_a_port_or_a_host_with_one(said: int | str, host: str, port: int) -> None:
    """A port alone is of the loopback address; IPv6 addresses stand in brackets, as in a URL."""
    assert address(said) == (host, port)
    assert Settings(monitoring=said).monitoring == said


@pytest.mark.parametrize("said", [-1, 65_536, "", "host", ":9464", "host:", "::1:9464", "1:2:3", "[]:1", "h:٣", "h:-1"])
def test_what_is_no_address_is_refused(said: int | str) -> None:
    """It says how one is written."""
    with pytest.raises(ConfigurationError, match="is no address"):
        Settings(monitoring=said)


@pytest.mark.parametrize("grace", [0, -1.0])
def test_a_grace_is_more_than_nothing(grace: float) -> None:
    """With none every process would be dead at once."""
    with pytest.raises(ConfigurationError, match="liveness_grace"):
        Settings(liveness_grace=grace)
