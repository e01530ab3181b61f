"""The target http: what a request says, what of it an event can never say, and who it says it comes from."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cloudevents.http import from_http
from http_target import Got, event, invoker_of, remote, serving, target_of
from process_functions import OUT, STREAM
from pydantic import ValidationError
from stage import Stage, until
from yarl import URL

from bindings import Retry
from bindings.failure import FailureKind
from dispatcher.core.delivery import Delivery
from dispatcher.core.record import Outgoing
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.http import addresses
from dispatcher.invokers.http.invoker import HttpInvoker

JSON_EVENT = b'{"total": 12.5}'
NASTY = [
    ("host", b"evil.example"),
    ("authorization", b"Bearer stolen"),
    ("content-length", b"0"),
    ("transfer-encoding", b"chunked"),
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1\r\nx-injected: yes"),
    ("ce_source", b"/\x00\x1b[31m"),
    ("ce_type", "\u00fcber \u20ac \U0001f600".encode()),
    ("ce_host", b"evil.example"),
    ("ce_authorization", b"Bearer stolen"),
    ("ce_X-Injected", b"yes"),
    ("ce_x\r\nx-injected", b"yes"),
    ("content-type", b"text/plain\r\nx-injected: yes"),
]


async def _sent(delivery: Delivery, *more: Delivery, batch: int = 0, **options: Any) -> Got:
    async with serving() as service, invoker_of(remote(batch=batch), target_of(service.url, **options)) as invoker:
        reply = await invoker.invoke([delivery, *more])
        assert (reply.rest, reply.failures) == (None, {})
    [got] = service.got
    return got


async def test_a_request_says_what_a_host_needs() -> None:
    """The metadata of an invocation is in headers, the same for every envelope."""
    got = await _sent(event(JSON_EVENT, offset=9, attempts=2))
    assert (got.method, got.path, got.body) == ("POST", "/in", JSON_EVENT)
    assert {name: got.headers[name] for name in ("dispatch-attempt", "dispatch-timeout", "dispatch-function")} == {
        "dispatch-attempt": "3",
        "dispatch-timeout": "60.000",
        "dispatch-function": "there",
    }
    assert got.headers["idempotency-key"] == f"{STREAM}/3/9"
    assert got.headers["accept"].startswith("application/vnd.dispatch.reply+json, application/cloudevents+json")
    assert "cookie" not in got.headers


async def test_binary_mode_is_read_by_the_sdk() -> None:
    """One event goes as a CloudEvent in binary mode, which the CloudEvents SDK reads."""
    got = await _sent(event(JSON_EVENT, key=b"ann"), source="/shop", event_type="order.placed")
    read = from_http(got.headers, got.body)
    assert (read["id"], read["source"], read["type"]) == (f"{STREAM}/3/7", "/shop", "order.placed")
    assert (read.data, read["partitionkey"]) == (json.loads(JSON_EVENT), "ann")


async def test_structured_mode_is_read_by_the_sdk() -> None:
    """In structured mode the whole event is one document, which the CloudEvents SDK reads."""
    got = await _sent(event(JSON_EVENT), envelope="cloudevents_structured")
    read = from_http(got.headers, got.body)
    assert (read["id"], read.data) == (f"{STREAM}/3/7", json.loads(JSON_EVENT))


async def test_a_batch_is_one_request() -> None:
    """A function that takes batches gets a list of CloudEvents, and the highest of their attempts."""
    got = await _sent(event(b"1", offset=1), event(b"2", offset=2, attempts=4), batch=10)
    assert got.headers["content-type"] == "application/cloudevents-batch+json"
    assert [(each["id"], each["data"]) for each in got.json] == [(f"{STREAM}/3/1", 1), (f"{STREAM}/3/2", 2)]
    assert (got.headers["dispatch-attempt"], got.headers["idempotency-key"]) == ("5", f"{STREAM}/3/1")


async def test_the_event_of_aws() -> None:
    """The envelope "aws_kafka" is the event of Lambda's trigger for Kafka."""
    got = await _sent(event(b"x"), envelope="aws_kafka")
    [record] = got.json["records"][f"{STREAM}-3"]
    assert (base64.b64decode(record["value"]), record["offset"]) == (b"x", 7)


async def test_the_raw_value() -> None:
    """The envelope "raw" is the value alone, of the content type that is said; it holds one event."""
    got = await _sent(event(b"\x00\xff"), envelope="raw", content_type="application/avro")
    assert (got.body, got.headers["content-type"], got.headers["dispatch-offset"]) == (
        b"\x00\xff",
        "application/avro",
        "7",
    )
    with pytest.raises(ConfigurationError, match="takes batches"):
        HttpInvoker(remote(batch=2), target_of("http://localhost/", envelope="raw"))


@pytest.mark.parametrize("envelope", ["cloudevents", "cloudevents_structured", "aws_kafka", "raw"])
async def test_an_event_says_nothing_in_the_name_of_the_request(envelope: str) -> None:
    """Headers of an event never become headers of the request, but for percent-encoded attributes of a CloudEvent."""
    got = await _sent(event(b"{}", key=b"k\r\nx-injected: yes", headers=NASTY), envelope=envelope)
    assert got.headers["host"].startswith("localhost:")
    assert "authorization" not in got.headers
    assert "transfer-encoding" not in got.headers
    assert got.headers["content-length"] == str(len(got.body))
    assert not any("injected" in name for name in got.headers)
    for name, value in got.headers.items():
        assert value.isascii(), name
        assert value.isprintable(), name
    known = {"accept", "accept-encoding", "user-agent", "content-type", "content-length", "host", "idempotency-key"}
    assert all(name in known or name.startswith(("ce-", "dispatch-")) for name in got.headers)


async def test_a_large_body_arrives_whole() -> None:
    """A body of more than a megabyte is sent like any other."""
    value = b'"' + b"x" * 3_000_000 + b'"'
    assert (await _sent(event(value))).body == value


async def test_a_tombstone_arrives_as_one() -> None:
    """An event without a value is a CloudEvent without data."""
    got = await _sent(event(None))
    assert (got.body, got.headers["ce-id"]) == (b"", f"{STREAM}/3/7")


async def test_results_are_emitted(stage: Stage) -> None:
    """A reply that is a CloudEvent, or a list of them, goes to the output stream, with its key."""

    def answer(got: Got, number: int) -> web.Response:
        made = [
            {
                "specversion": "1.0",
                "id": f"{number}{part}",
                "source": "/a",
                "type": "b",
                "partitionkey": "ann",
                "data": number,
            }
            for part in range(2)
        ]
        if number == 1:
            return web.json_response(made[0], content_type="application/cloudevents+json")
        if number == 2:
            headers = {
                "ce-specversion": "1.0",
                "ce-id": "2",
                "ce-source": "/a",
                "ce-type": "b",
                "ce-partitionkey": "bob",
            }
            return web.Response(body=b"2", headers=headers, content_type="application/json")
        return web.json_response(made, content_type="application/cloudevents-batch+json")

    async with serving(answer) as service:
        await stage.send([b"1", b"2", b"3"])
        binding = remote(emits=True, concurrency=1)
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert [(record.key, record.value) for record in came.results] == [
        (b"ann", b"1"),
        (b"bob", b"2"),
        (b"ann", b"3"),
        (b"ann", b"3"),
    ]


async def test_results_of_a_function_that_emits_nothing_are_left(stage: Stage) -> None:
    """Without emits= a CloudEvent in the reply says that the event is done, and no more."""
    made = {"specversion": "1.0", "id": "1", "source": "/a", "type": "b", "data": 1}
    async with serving(lambda *_: web.json_response(made, content_type="application/cloudevents+json")) as service:
        await stage.send([b"1"])
        came = await stage.through(remote(), HttpInvoker(remote(), target_of(service.url)))
    assert (came.statistics.done, came.results) == (1, [])


async def test_the_pool_is_as_large_as_the_concurrency(stage: Stage) -> None:
    """As many connections as invocations run, each used again and again."""

    async def answer(_got: Got, _number: int) -> web.Response:
        await asyncio.sleep(0.01)
        return web.Response(status=204)

    async with serving(answer) as service:
        await stage.send([b"%d" % number for number in range(200)])
        binding = remote(concurrency=8)
        came = await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    assert (came.statistics.done, service.most_running, len(service.peers)) == (200, 8, 8)


async def test_a_poisoned_key_is_one_events_failure(stage: Stage) -> None:
    """A key that makes a request's head too large is that event's dead letter; the others are done."""
    async with serving() as service:
        large = Outgoing(topic=STREAM, key=b"\xff" * 60_000, value=b"1")
        await stage.send([b"0", large, b"2"])
        came = await stage.through(remote(), HttpInvoker(remote(), target_of(service.url)))
    assert came.statistics.done == 2
    assert [facts[0] for facts in came.dead.values()] == ["rejected"]


# -- who it comes from


@pytest.mark.parametrize(
    ("options", "header", "expected"),
    [
        ({"auth": {"type": "bearer", "token": {"file": "FILE"}}}, "authorization", "Bearer s3cret"),
        (
            {"auth": {"type": "basic", "username": "ann", "password": {"file": "FILE"}}},
            "authorization",
            "Basic " + base64.b64encode(b"ann:s3cret").decode(),
        ),
        ({"headers": {"X-Functions-Key": {"file": "FILE"}, "x-team": "shop"}}, "x-functions-key", "s3cret"),
        ({"headers": {"X-Functions-Key": {"env": "HTTP_TARGET_KEY"}}}, "x-functions-key", "from the environment"),
        ({"auth": {"type": "bearer", "token": {"call": "http_tokens:token"}}}, "authorization", "Bearer called"),
    ],
)
async def test_secrets_are_said_where_they_belong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: Any,
    header: str,
    expected: str,
) -> None:
    """Each way to show who this is arrives, and no log holds it."""
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    (tmp_path / "http_tokens.py").write_text("async def token():\n    return 'called'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HTTP_TARGET_KEY", "from the environment")
    got = await _sent(event(), **json.loads(json.dumps(options).replace("FILE", str(secret))))
    assert got.headers[header] == expected
    assert "s3cret" not in caplog.text


async def test_a_secret_that_changes_is_read_again(tmp_path: Path) -> None:
    """A file that is replaced is what requests bear from a second later on; while it is gone the old one is."""
    secret = tmp_path / "token"
    secret.write_text("old")
    options = {"auth": {"type": "bearer", "token": {"file": str(secret)}}}
    async with serving() as service, invoker_of(remote(), target_of(service.url, **options)) as invoker:
        await invoker.invoke([event()])
        secret.unlink()
        give_up = time.monotonic() + 20
        await asyncio.sleep(1.1)
        assert (await invoker.invoke([event()])).rest is None
        secret.write_text("new")
        while service.got[-1].headers["authorization"] != "Bearer new":
            assert time.monotonic() < give_up
            assert (await invoker.invoke([event()])).rest is None
            await asyncio.sleep(0.05)
    assert {got.headers["authorization"] for got in service.got} == {"Bearer old", "Bearer new"}


async def test_a_secret_that_was_changed_on_both_sides_costs_nothing(tmp_path: Path) -> None:
    """401 for a secret that has been replaced here meanwhile is no attempt; for one that has not, it is terminal."""
    secret = tmp_path / "token"
    secret.write_text("old")
    options = {"auth": {"type": "bearer", "token": {"file": str(secret)}}}

    def answer(got: Got, number: int) -> web.Response:
        if number == 2:
            secret.write_text("new")
        return web.Response(status=204 if number == 1 or got.headers["authorization"] == "Bearer new" else 401)

    async with serving(answer) as service, invoker_of(remote(), target_of(service.url, **options)) as invoker:
        assert (await invoker.invoke([event()])).rest is None
        refused = (await invoker.invoke([event()])).rest
        assert refused is not None
        assert (refused.kind, refused.retry_after) == (FailureKind.NOT_DELIVERED, 0)
        assert (await invoker.invoke([event()])).rest is None
    async with (
        serving(lambda *_: web.Response(status=401)) as service,
        invoker_of(remote(), target_of(service.url, **options)) as invoker,
    ):
        refused = (await invoker.invoke([event()])).rest
        assert refused is not None
        assert refused.kind is FailureKind.TERMINAL


@pytest.mark.parametrize("content", [None, "", "two\nlines", "nicht-\u00e4scii"])
async def test_a_secret_that_is_not_there_sends_nothing(tmp_path: Path, content: str | None) -> None:
    """Without its secret a request is not sent, and no attempt is used; the message holds no secret."""
    secret = tmp_path / "token"
    if content is not None:
        secret.write_text(content)
    options = {"auth": {"type": "bearer", "token": {"file": str(secret)}}}
    async with serving() as service, invoker_of(remote(), target_of(service.url, **options)) as invoker:
        reply = await invoker.invoke([event()])
    assert service.got == []
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.NOT_DELIVERED, "SecretUnavailable")
    assert "lines" not in reply.rest.message


async def test_tokens_and_signatures_from_elsewhere() -> None:
    """A source of tokens, and a signer, are asked for each request, and the signer sees the request as it is sent."""
    seen: list[tuple[str, URL, dict[str, str], bytes]] = []

    async def tokens() -> str:
        return "id-token"

    class Signing:
        async def sign(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
            seen.append((method, url, dict(headers), body))
            return {"authorization": f"AWS4 {len(body)}", "x-amz-date": "now"}

    async with serving() as service:
        google = target_of(service.url, auth={"type": "google_id_token"})
        async with invoker_of(remote(), google, tokens=tokens) as invoker:
            await invoker.invoke([event()])
        aws = target_of(service.url, auth={"type": "aws_sigv4", "region": "eu-west-1"})
        async with invoker_of(remote(), aws, signer=Signing()) as invoker:
            await invoker.invoke([event(b"12345")])
    assert [got.headers["authorization"] for got in service.got] == ["Bearer id-token", "AWS4 5"]
    [(method, url, headers, body)] = seen
    assert (method, str(url), body) == ("POST", service.url, b"12345")
    assert headers.items() <= {**service.got[1].headers, "x": ""}.items()


async def test_warm_up_wakes_the_target(stage: Stage) -> None:
    """The path of warm_up is asked for once at the start, with no event, and what it answers does not matter."""

    def answer(got: Got, _number: int) -> web.Response:
        return web.Response(status=500 if got.method == "GET" else 204)

    async with serving(answer) as service:
        await stage.send([b"1"])
        binding = remote()
        worker = stage.worker(binding, HttpInvoker(binding, target_of(service.url, warm_up="/healthz")), ends=False)
        running = asyncio.create_task(worker.run())
        await until(lambda: len(service.got) == 2, "both requests")
        worker.stop()
        await running
    assert sorted((got.method, got.path) for got in service.got) == [("GET", "/healthz"), ("POST", "/in")]
    assert worker.statistics().done == 1


# -- where it may go


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fe80::1]",
        "[fd00::1]",
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
    ],
)
async def test_private_addresses_can_be_forbidden(host: str) -> None:
    """Whatever name or spelling leads there, no connection is made to an address that is not public."""
    async with serving() as service:
        url = f"http://{host}:{service.port}/in"
        async with invoker_of(remote(timeout=5.0), target_of(url, forbid_private=True)) as invoker:
            reply = await invoker.invoke([event()])
    assert service.got == []
    assert reply.rest is not None
    assert (reply.rest.kind, reply.rest.error_type) == (FailureKind.NOT_DELIVERED, "AddressForbidden")
    assert "is not a public address" in reply.rest.message


async def test_without_the_setting_loopback_is_reached() -> None:
    """The control of the test above: the same spellings arrive where nothing forbids them."""
    async with serving() as service:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            async with invoker_of(remote(), target_of(f"http://{host}:{service.port}/in")) as invoker:
                assert (await invoker.invoke([event()])).rest is None
    assert len(service.got) == 3


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"],
)
def test_addresses_in_disguise_are_refused(host: str) -> None:
    """A number that a resolver may read as an address, in another spelling than four plain numbers, is no URL."""
    with pytest.raises(ValidationError, match="an address is four numbers"):
        target_of(f"http://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_a_redirect_to_an_address_in_disguise_leads_nowhere(host: str) -> None:
    """The same spellings in a redirect are another host, which is never followed."""
    async with serving() as service:
        there = f"http://{host}:{service.port}/in"
        async with (
            serving(lambda *_: web.Response(status=307, headers={"Location": there})) as pointing,
            invoker_of(remote(), target_of(pointing.url)) as invoker,
        ):
            reply = await invoker.invoke([event()])
    assert service.got == []
    assert reply.rest is not None
    assert reply.rest.kind is FailureKind.NOT_DELIVERED


async def test_a_name_that_is_bound_anew_is_checked_at_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public at one look and private at the next leads nowhere: what is connected to is what was checked."""
    real, looks = socket.getaddrinfo, []

    def rebinding(host: Any, *args: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return real(host, *args, **options)
        looks.append(host)
        return real("127.0.0.2" if len(looks) == 1 else "127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    # Another loopback address stands for the public Internet.
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2")
    replies = []
    async with serving(host="127.0.0.2") as public, serving(port=public.port) as private:
        target = target_of(f"http://rebinding.example:{public.port}/in", forbid_private=True)
        for _ in range(2):
            async with invoker_of(remote(), target) as invoker:
                replies.append(await invoker.invoke([event()]))
    # One look a connection: no second one between the check and the connecting.
    assert len(looks) == 2
    assert (len(public.got), len(private.got)) == (1, 0)
    assert replies[0].rest is None
    assert replies[1].rest is not None
    assert replies[1].rest.error_type == "AddressForbidden"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "http://allowed@169.254.169.254/"}, "say who this is with auth"),
        ({"url": "http://user:pass@host/"}, "say who this is with auth"),
        ({"url": "file:///etc/passwd"}, "http://host/path"),
        ({"url": "http:///path"}, "http://host/path"),
        ({"url": "http://host:99999/"}, "not a URL"),
        ({"url": "http://host/a b"}, "white space"),
        ({"url": "http://host/\r\nx: y"}, "white space"),
        ({"url": "http://host/#part"}, "fragment"),
        ({"headers": {"Host": "evil"}}, "the dispatcher's own"),
        ({"headers": {"Content-Length": "0"}}, "the dispatcher's own"),
        ({"headers": {"transfer-encoding": "chunked"}}, "the dispatcher's own"),
        ({"headers": {"ce-id": "1"}}, "the dispatcher's own"),
        ({"headers": {"x y": "1"}}, "can't be a header's name"),
        ({"headers": {"x-a": "1\r\nx-b: 2"}}, "what no header may"),
        ({"headers": {"x-a": "1", "X-A": "2"}}, "given twice"),
        ({"headers": {"X-Functions-Key": "literal"}}, "a secret is not written"),
        ({"headers": {"Authorization": "ApiKey literal"}}, "a secret is not written"),
        ({"auth": {"type": "bearer", "token": "literal"}}, "token"),
        ({"auth": {"type": "bearer", "token": {"env": "A"}}, "headers": {"Authorization": {"env": "B"}}}, "keep one"),
        ({"key_file": "k.pem"}, "without cert_file"),
        ({"max_reply": 10}, "max_reply"),
        ({"retries": 3}, "retries"),
    ],
)
def test_what_a_target_may_not_say(options: dict[str, Any], says: str) -> None:
    """A target that would be unsafe, or mean nothing, is refused when it is read, and no secret is in the message."""
    with pytest.raises(ValidationError) as caught:
        target_of(**{"url": "http://host/", **options})
    assert says in str(caught.value)
    assert "literal" not in str(caught.value)
    assert "user:" not in str(caught.value)


async def test_two_attempts_bear_the_same_identity(stage: Stage) -> None:
    """A second attempt has the id of the first, so that a target can know it again."""
    async with serving(lambda _got, number: web.Response(status=500 if number == 1 else 204)) as service:
        await stage.send([b"1"])
        binding = remote(retry=Retry(max_attempts=3, initial=0.0))
        await stage.through(binding, HttpInvoker(binding, target_of(service.url)))
    first, second = service.got
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["ce-id"] == second.headers["ce-id"]
    assert OUT not in first.headers.values()
