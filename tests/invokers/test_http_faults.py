"""The target http when its endpoint misbehaves: each fault has its kind of failure, and holds up nothing else."""

from __future__ import annotations

import asyncio
import gzip
import resource
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from email.utils import formatdate
from typing import Any

import pytest
import trustme
from aiohttp import web
from http_target import (
    Got,
    Misbehaviour,
    drip_body,
    drip_headers,
    endless,
    event,
    free_port,
    half_a_body,
    hang,
    hang_up,
    huge_announced,
    invoker_of,
    misbehaving,
    nonsense,
    remote,
    reset,
    serving,
    target_of,
)
from process_functions import STREAM
from stage import Stage, until

from bindings import Retry
from bindings.failure import FailureKind
from dispatcher.core.record import Outgoing
from dispatcher.invokers.http.invoker import HttpInvoker
from dispatcher.invokers.making import make_invoker
from dispatcher.worker import Worker

MOST = 1 << 20


@pytest.mark.parametrize(
    ("misbehave", "error_type", "says"),
    [
        (reset, "ConnectionLost", "Connection reset by peer"),
        (hang_up, "ConnectionLost", "before a reply"),
        (half_a_body, "ConnectionLost", "within the reply"),
        (nonsense, "InvalidReply", "not a reply of HTTP"),
        (hang, "TimeoutError", "longer than 0.6 s"),
        (drip_headers, "TimeoutError", "longer than 0.6 s"),
        (drip_body, "TimeoutError", "longer than 0.6 s"),
        (huge_announced, "InvalidReply", "1099511627776 bytes"),
        (endless, "InvalidReply", "more than 1048576 bytes"),
    ],
)
async def test_what_may_have_run_is_one_attempt(
    stage: Stage, misbehave: Misbehaviour, error_type: str, says: str
) -> None:
    """A request that went out and got no whole answer is one attempt, of one request, and never takes past the deadline."""
    async with misbehaving(misbehave) as wire:
        await stage.send([b"1"])
        binding = remote(timeout=0.6)
        began = time.monotonic()
        came = await stage.through(binding, HttpInvoker(binding, target_of(wire.url, max_reply=MOST)))
        assert time.monotonic() - began < 5
    [(reason, kind, message, attempts)] = came.dead.values()
    assert (reason, kind, attempts) == ("attempts", error_type, "1")
    assert says in message
    assert wire.requests == 1
    assert (came.statistics.not_delivered, came.statistics.retried) == (0, 0)


@pytest.mark.parametrize("status", [408, 409, 500, 501, 502, 504, 599])
async def test_statuses_that_are_an_attempt(stage: Stage, status: int) -> None:
    """A status that says, or leaves open, that the function ran and failed is one attempt, and one more follows."""
    answers = [status, 204]
    async with serving(lambda _got, number: web.Response(status=answers[number - 1])) as service:
        await stage.send([b"1"])
        binding = remote(retry=Retry(max_attempts=2, initial=0.0))
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert [got.headers["dispatch-attempt"] for got in service.got] == ["1", "2"]
    assert (came.statistics.done, came.statistics.retried, came.statistics.not_delivered) == (1, 1, 0)
    assert came.dead == {}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 415, 422, 431, 451])
async def test_statuses_that_are_terminal(stage: Stage, status: int) -> None:
    """Any other 4xx goes to the dead letters at once, with what the target said of it."""

    def answer(_got: Got, _number: int) -> web.Response:
        return web.json_response({"title": "no", "detail": "that order\r\n\x1b[31m is not known"}, status=status)

    async with serving(answer) as service:
        await stage.send([b"1"])
        binding = remote(retry=Retry(max_attempts=5, initial=0.0))
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    [(reason, kind, message, attempts)] = came.dead.values()
    assert (reason, kind, attempts) == ("rejected", f"HTTP {status}", "1")
    assert "that order" in message
    assert message.isprintable()
    assert len(service.got) == 1


@pytest.mark.parametrize(
    ("status", "form"), [(425, "none"), (429, "seconds"), (429, "date"), (503, "seconds"), (503, "date")]
)
async def test_statuses_that_are_no_attempt(stage: Stage, status: int, form: str) -> None:
    """What the target did not begin uses no attempt, and Retry-After is heeded in both its forms."""
    times: list[float] = []

    def answer(_got: Got, number: int) -> web.Response:
        times.append(time.time())
        # A date has whole seconds, so the wait until it is up to one less.
        after = {
            "none": {},
            "seconds": {"Retry-After": "2"},
            "date": {"Retry-After": formatdate(time.time() + 3, usegmt=True)},
        }
        return web.Response(status=204) if number > 1 else web.Response(status=status, headers=after[form])

    async with serving(answer) as service:
        await stage.send([b"1"])
        binding = remote()
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert came.dead == {}
    assert (came.statistics.done, came.statistics.not_delivered, came.statistics.retried) == (1, 1, 0)
    assert [got.headers["dispatch-attempt"] for got in service.got] == ["1", "1"]
    wait = times[1] - times[0]
    assert (0.9 if form == "none" else 1.9) <= wait < 4


async def test_refused_is_no_attempt(stage: Stage) -> None:
    """While nothing listens no attempt is used; once something does, the event arrives."""
    port = free_port()
    await stage.send([b"1"])
    binding = remote()
    worker = stage.worker(binding, HttpInvoker(binding, target_of(f"http://127.0.0.1:{port}/in")))
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.statistics().not_delivered, "a refusal")
    async with serving(port=port) as service:
        await running
    assert [got.headers["dispatch-attempt"] for got in service.got] == ["1"]
    assert (worker.statistics().done, worker.statistics().dead_lettered) == (1, 0)


@pytest.mark.parametrize(
    ("url", "error_type", "says"),
    [
        ("http://no-such-host.invalid/", "NameNotFound", "no-such-host.invalid can't be resolved"),
        ("http://127.0.0.1:{free}/", "ConnectionRefused", "Connection refused"),
        ("http://127.0.0.1:{full}/", "ConnectTimeout", "not connected after 0.3 s"),
        ("https://127.0.0.1:{plain}/", "TLSError", "does it speak https?"),
    ],
)
async def test_what_is_not_connected_is_not_delivered(url: str, error_type: str, says: str) -> None:
    """Without a connection nothing was sent: that is told apart from a function that is slow, and says what is wrong."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than its queue takes: the next is never answered
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        async with serving() as service:
            where = url.format(free=free_port(), full=full.getsockname()[1], plain=service.port)
            async with invoker_of(remote(timeout=5.0), target_of(where, connect_timeout=0.3)) as invoker:
                reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.NOT_DELIVERED, error_type)
    assert says in reply.rest.message


async def test_a_deadline_while_connecting_is_no_attempt() -> None:
    """A timeout shorter than the time to connect is still told from a slow function: nothing was sent."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        async with invoker_of(remote(timeout=0.3), target_of(url, connect_timeout=10.0)) as invoker:
            reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert reply.rest.kind is FailureKind.NOT_DELIVERED


async def test_a_target_that_does_not_read_is_not_waited_for() -> None:
    """A body that nobody takes ends with the attempt's time: it may have been read in part, so it is an attempt."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(5)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        async with invoker_of(remote(timeout=0.5), target_of(url)) as invoker:
            began = time.monotonic()
            reply = await invoker.invoke([event(b'"' + b"x" * 30_000_000 + b'"')])
            assert time.monotonic() - began < 5
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.FUNCTION, "TimeoutError")


async def test_a_kept_connection_that_was_closed_is_no_attempt() -> None:
    """A server that closes an idle connection costs no attempt: the next event goes over another one."""
    closing = asyncio.Event()

    async def answer_and_close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await closing.wait()

    async with (
        misbehaving(answer_and_close) as wire,
        invoker_of(remote(), target_of(wire.url)) as invoker,
    ):
        assert (await invoker.invoke([event()])).rest is None
        closing.set()
        await asyncio.sleep(0.1)
        assert (await invoker.invoke([event()])).rest is None
    assert wire.requests == 2


@contextmanager
def _authority(*hosts: str) -> Iterator[tuple[ssl.SSLContext, trustme.CA]]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(server)
    yield server, authority


@pytest.mark.parametrize(
    ("host", "trusted", "says"),
    [
        ("localhost", False, "is not trusted"),
        ("another.example", True, "is for another host than localhost"),
    ],
)
async def test_tls_that_fails_says_why(stage: Stage, tmp_path: Any, host: str, trusted: bool, says: str) -> None:
    """An untrusted authority and a wrong host name are told apart; neither uses an attempt, nor sends an event."""
    with _authority(host) as (server, authority):
        ca_file = tmp_path / "ca.pem"
        (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(ca_file))
        async with (
            serving(tls=server) as service,
            invoker_of(remote(), target_of(service.url, ca_file=ca_file)) as invoker,
        ):
            reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert reply.rest.kind is FailureKind.NOT_DELIVERED
    assert (reply.rest.error_type, says in reply.rest.message) == ("CertificateError", True)
    assert service.got == []


async def test_tls_that_holds(tmp_path: Any) -> None:
    """A certificate of the trusted authority for the right host is taken."""
    with _authority("localhost") as (server, authority):
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        async with (
            serving(tls=server) as service,
            invoker_of(remote(), target_of(service.url, ca_file=tmp_path / "ca.pem")) as invoker,
        ):
            assert (await invoker.invoke([event()])).rest is None
    assert len(service.got) == 1


async def test_verification_that_is_off_is_said_out_loud(caplog: pytest.LogCaptureFixture) -> None:
    """verify_tls = false works, and each start says at the level of an error what it means."""
    with _authority("another.example") as (server, _):
        async with (
            serving(tls=server) as service,
            invoker_of(remote(), target_of(service.url, verify_tls=False)) as invoker,
        ):
            assert (await invoker.invoke([event()])).rest is None
    [said] = [record for record in caplog.records if "verify_tls is false" in record.getMessage()]
    assert said.levelname == "ERROR"


@pytest.mark.parametrize("knows", [True, False])
async def test_mutual_tls(tmp_path: Any, knows: bool) -> None:
    """A target that asks for a certificate gets the client's; one that is not taken is no attempt."""
    with _authority("localhost") as (server, authority):
        server.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(server)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        issuer = authority if knows else trustme.CA()
        client = issuer.issue_cert("dispatcher")
        client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
        # Under TLS 1.3 the request is on its way when the server refuses, and whoever reads a reset can't know why.
        server.maximum_version = ssl.TLSVersion.TLSv1_3 if knows else ssl.TLSVersion.TLSv1_2
        options = {"ca_file": tmp_path / "ca.pem", "cert_file": tmp_path / "client.pem"}
        async with serving(tls=server) as service, invoker_of(remote(), target_of(service.url, **options)) as invoker:
            reply = await invoker.invoke([event()])
    if knows:
        assert (reply.rest, len(service.got)) == (None, 1)
    else:
        assert reply.rest is not None
        assert reply.rest.kind is FailureKind.NOT_DELIVERED
        assert service.got == []


async def test_a_redirect_loop_ends() -> None:
    """Redirects on the same host that keep the request are followed three times, within the one deadline, and no more."""
    async with (
        serving(lambda _got, _number: web.Response(status=307, headers={"Location": "/in?again"})) as service,
        invoker_of(remote(), target_of(service.url)) as invoker,
    ):
        reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.NOT_DELIVERED, "Redirected")
    assert len(service.got) == 4


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    """A 308 to another path is followed with the same body; the function's answer counts."""

    def answer(got: Got, _number: int) -> web.Response:
        if got.path == "/in":
            return web.Response(status=308, headers={"Location": "/moved"})
        return web.Response(status=204)

    async with serving(answer) as service, invoker_of(remote(), target_of(service.url)) as invoker:
        assert (await invoker.invoke([event(b'{"a":1}')])).rest is None
    assert [(got.path, got.body) for got in service.got] == [("/in", b'{"a":1}'), ("/moved", b'{"a":1}')]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("userinfo", ["", "user:pass@"])
async def test_a_redirect_to_another_host_is_not_followed(status: int, userinfo: str) -> None:
    """Nothing is sent to another host, no attempt is used, and the message names it without what may be secret."""
    async with serving() as other:
        there = f"http://{userinfo}127.0.0.1:{other.port}/steal?token=secret"
        async with (
            serving(lambda _got, _number: web.Response(status=status, headers={"Location": there})) as service,
            invoker_of(remote(), target_of(service.url)) as invoker,
        ):
            reply = await invoker.invoke([event()])
    assert other.got == []
    assert reply.rest is not None
    assert reply.rest.kind is FailureKind.NOT_DELIVERED
    assert f"127.0.0.1:{other.port}/steal" in reply.rest.message
    assert "secret" not in reply.rest.message
    assert "pass" not in reply.rest.message


@pytest.mark.parametrize(
    ("content_type", "body", "ok"),
    [
        ("text/html", b"<h1>done</h1>", True),
        ("application/octet-stream", b"\x00\xff", True),
        ("application/json", b"", True),
        ("application/json", b'{"status": "fine"}', True),
        ("application/json", b"{", False),
        ("application/json", b"[" * 200_000, False),
        ("application/json", b"\xff\xfe", False),
        ("application/problem+json", b"{'a': 1}", False),
        ("application/vnd.dispatch.reply+json", b'{"version": 2}', False),
        (
            "application/vnd.dispatch.reply+json",
            b'{"version": 1, "failures": [{"index": 1, "kind": "function"}]}',
            False,
        ),
    ],
)
async def test_what_a_2xx_says(content_type: str, body: bytes, ok: bool) -> None:
    """A body of another type is nobody's; one that claims to be JSON, or a host's document, and is not fails the attempt."""
    async with (
        serving(lambda _got, _number: web.Response(body=body, content_type=content_type)) as service,
        invoker_of(remote(), target_of(service.url)) as invoker,
    ):
        reply = await invoker.invoke([event()])
    if ok:
        assert (reply.rest, reply.failures) == (None, {})
    else:
        assert reply.rest is not None
        assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.FUNCTION, "InvalidReply")


def _one_member() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush()


@pytest.mark.parametrize(
    ("bomb", "encoding"),
    [
        # 700 members of 1 MiB each in 713 KB: what became 734 MB in a client with no limit.
        (lambda: gzip.compress(bytes(1 << 20), 9) * 700, "gzip"),
        (_one_member, "gzip"),
        (lambda: zlib.compress(bytes(300 << 20), 9), "deflate"),
    ],
    ids=["members", "gzip", "deflate"],
)
async def test_a_reply_that_grows_when_decompressed_is_bounded(bomb: Callable[[], bytes], encoding: str) -> None:
    """A decompression bomb costs one attempt and no more memory than the limit, with something over."""
    body = await asyncio.to_thread(bomb)
    assert len(body) < MOST
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}

    async def answer(_got: Got, _number: int) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    async with serving(answer) as service, invoker_of(remote(), target_of(service.url, max_reply=MOST)) as invoker:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await invoker.invoke([event()])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.FUNCTION, "InvalidReply")
    assert "once decompressed" in reply.rest.message
    assert grown < 32 << 10  # KiB


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_a_compressed_reply_is_read(encoding: str) -> None:
    """A reply in an encoding that was asked for is read as if it were in none."""
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding](
        b'{"batchItemFailures": []}'
    )
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    async with (
        serving(lambda _got, _number: web.Response(body=packed, headers=headers)) as service,
        invoker_of(remote(), target_of(service.url)) as invoker,
    ):
        reply = await invoker.invoke([event()])
    assert reply.rest is None


@pytest.mark.parametrize(("encoding", "body"), [("br", b"abc"), ("gzip", b"abc"), ("gzip", gzip.compress(b"{}")[:-9])])
async def test_an_encoding_that_can_not_be_read_fails_the_attempt(encoding: str, body: bytes) -> None:
    """An encoding that nobody asked for, and one that is broken, are a failed attempt."""
    async with (
        serving(lambda _got, _number: web.Response(body=body, headers={"Content-Encoding": encoding})) as service,
        invoker_of(remote(), target_of(service.url)) as invoker,
    ):
        reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.FUNCTION, "InvalidReply")


async def test_a_refusal_whose_body_is_too_large_is_still_that_refusal() -> None:
    """The status decides, also when the body is more than is read."""
    async with (
        serving(lambda _got, _number: web.Response(status=503, body=bytes(MOST + 1))) as service,
        invoker_of(remote(), target_of(service.url, max_reply=MOST)) as invoker,
    ):
        reply = await invoker.invoke([event()])
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.NOT_DELIVERED, "HTTP 503")


@pytest.mark.parametrize("batch", [0, 8])
async def test_what_is_too_large_is_split(stage: Stage, batch: int) -> None:
    """413 splits a batch until what is small enough goes through; an event that is alone and too large is a dead letter."""

    def answer(got: Got, _number: int) -> web.Response:
        return web.Response(status=413 if len(got.body) > 2_000 else 204)

    async with serving(answer) as service:
        await stage.send([b'"' + b"x" * (5_000 if number == 3 else 300) + b'"' for number in range(8)])
        binding = remote(batch=batch)
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert came.statistics.done == 7
    [(value, (reason, *_))] = came.dead.items()
    assert (len(value or b""), reason) == (5_002, "oversize")


async def test_max_request_splits_before_anything_is_sent(stage: Stage) -> None:
    """A batch larger than max_request is split here: the target never sees a body that is larger."""
    async with serving() as service:
        await stage.send([b'"' + b"x" * 300 + b'"' for _ in range(8)])
        binding = remote(batch=8)
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url, max_request=1_500)))
    assert came.statistics.done == 8
    assert max(len(got.body) for got in service.got) <= 1_500
    assert len(service.got) < 8


async def test_a_429_storm_shrinks_the_concurrency_and_opens_the_breaker(stage: Stage) -> None:
    """Throttled, the worker starts less and less and then waits; no attempt is used; calm again, all is delivered."""
    storm = asyncio.Event()
    at: list[float] = []

    async def answer(_got: Got, _number: int) -> web.Response:
        at.append(time.monotonic())
        await asyncio.sleep(0.01)
        return web.Response(status=204 if storm.is_set() else 429, headers={"Retry-After": "0"})

    async with serving(answer) as service:
        await stage.send([b"%d" % number for number in range(200)])
        binding = remote(concurrency=16)
        worker = stage.worker(binding, HttpInvoker(binding, target_of(service.url)))
        scheduler = worker._scheduler
        running = asyncio.create_task(worker.run())
        await until(lambda: scheduler.gate.breaker != "closed" and scheduler.gate.limit <= 8, "an open breaker")
        await asyncio.sleep(2.5)
        # 16 at first, then a probe after 1 s and one after 2 s more; without the breaker it would be hundreds.
        assert len(at) < 16 + 8
        storm.set()
        await running
        assert scheduler.gate.breaker == "closed"
    statistics = worker.statistics()
    assert (statistics.done, statistics.retried, statistics.dead_lettered) == (200, 0, 0)
    assert statistics.not_delivered == len(service.got) - 200


@pytest.mark.parametrize("out", ["refused", "503"])
async def test_an_outage_uses_no_attempt(stage: Stage, out: str) -> None:
    """Many times as long as all attempts would take, the events wait, in order; none is a dead letter, and all arrive after."""
    port, seconds = free_port(), 3.0
    await stage.send([Outgoing(topic=STREAM, key=b"%d" % (number % 5), value=b"%d" % number) for number in range(50)])
    binding = remote(retry=Retry(max_attempts=2, initial=0.01, max_delay=0.01))
    worker = stage.worker(binding, HttpInvoker(binding, target_of(f"http://127.0.0.1:{port}/")))
    async with AsyncExitStack() as stack:
        began = time.monotonic()
        if out == "503":
            async with serving(lambda *_: web.Response(status=503), port=port) as refusing:
                running = asyncio.create_task(worker.run())
                await until(lambda: time.monotonic() - began > seconds, "the end of the outage")
                assert refusing.got
        else:
            running = asyncio.create_task(worker.run())
            await until(lambda: time.monotonic() - began > seconds, "the end of the outage")
        statistics = worker.statistics()
        assert (statistics.done, statistics.retried, statistics.dead_lettered) == (0, 0, 0)
        assert statistics.not_delivered
        service = await stack.enter_async_context(serving(port=port))
        await running
    statistics = worker.statistics()
    assert (statistics.done, statistics.retried, statistics.dead_lettered) == (50, 0, 0)
    assert {got.headers["dispatch-attempt"] for got in service.got} == {"1"}
    for key in range(5):
        assert [int(got.body) for got in service.got if int(got.body) % 5 == key] == list(range(key, 50, 5))


async def test_a_cold_start_is_waited_for(stage: Stage) -> None:
    """A target that takes long for its first answer, and not too long, gets each event once."""
    warm = asyncio.Event()

    async def answer(_got: Got, number: int) -> web.Response:
        if number == 1:
            await asyncio.sleep(1.5)
            warm.set()
        await warm.wait()
        return web.Response(status=204)

    async with serving(answer) as service:
        await stage.send([b"%d" % number for number in range(20)])
        binding = remote(timeout=10.0)
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert (came.statistics.done, len(service.got)) == (20, 20)


async def test_no_fault_holds_up_another_function(stage: Stage) -> None:
    """Beside a function for each fault, all at once, one whose target is well handles all its events."""
    held: list[Misbehaviour] = [hang, drip_headers, drip_body]
    failing: list[Misbehaviour] = [reset, hang_up, huge_announced, endless, nonsense]
    bomb = await asyncio.to_thread(lambda: gzip.compress(bytes(1 << 20), 9) * 700)

    def explode(_got: Got, _number: int) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    retry = Retry(max_attempts=1000, initial=0.5, max_delay=0.5, jitter="none")
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(misbehaving(fault))).url for fault in (*held, *failing)]
        urls.append((await stack.enter_async_context(serving(explode))).url)
        urls.append(f"http://127.0.0.1:{free_port()}/")
        service = await stack.enter_async_context(serving())
        await stage.send([b"%d" % number for number in range(300)])
        workers = []
        for number, url in enumerate(urls):
            binding = remote(timeout=600.0, retry=retry, concurrency=4, name=f"bad-{number}")
            workers.append(stage.worker(binding, HttpInvoker(binding, target_of(url, max_reply=MOST)), ends=False))
        bad = [asyncio.create_task(worker.run()) for worker in workers]
        for worker in workers[: len(held)]:
            await until(lambda worker=worker: worker.statistics().in_flight == 4, "calls that are held")
        for worker in workers[len(held) :]:
            await until(lambda worker=worker: sum(_failures(worker)), "a failed call")
        binding = remote(concurrency=4)
        good = stage.worker(binding, HttpInvoker(binding, target_of(service.url)))
        await good.run()
        # Nothing had to end for that: what was held is held still, and what failed has gone on failing.
        assert [worker.statistics().in_flight for worker in workers[: len(held)]] == [4] * len(held)
        assert [worker.statistics().done for worker in workers] == [0] * len(workers)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*bad)
    assert (good.statistics().done, len(service.got)) == (300, 300)


def _failures(worker: Worker) -> tuple[int, int]:
    statistics = worker.statistics()
    return statistics.retried, statistics.not_delivered


async def test_a_batch_with_named_failures(stage: Stage) -> None:
    """What batchItemFailures names is tried again, and the rest of the batch is done."""

    def answer(got: Got, _number: int) -> web.Response:
        failed = [
            {"itemIdentifier": {"partition": f"{STREAM}-{each['kafkapartition']}", "offset": int(each["kafkaoffset"])}}
            for each in got.json
            if each["data"] == 3
        ]
        return web.json_response({"batchItemFailures": failed})

    async with serving(answer) as service:
        await stage.send([b"%d" % number for number in range(6)])
        binding = remote(batch=6, retry=Retry(max_attempts=3, initial=0.0))
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert came.statistics.done == 5
    assert {value: facts[3] for value, facts in came.dead.items()} == {b"3": "3"}
    assert [len(got.json) for got in service.got] == [6, 1, 1]


async def test_making_one_needs_no_loop() -> None:
    """A check makes invokers with no event loop and no connection."""
    made = await asyncio.to_thread(make_invoker, remote(batch=3), target_of("http://127.0.0.1:1/"))
    assert isinstance(made, HttpInvoker)
    await made.close()
