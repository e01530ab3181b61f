"""A decorated function behind HTTP: under uvicorn, and under the Functions Framework, both real."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http

from bindings.envelopes import aws_kafka, cloudevents, pubsub, raw, reply
from bindings.envelopes.record import WireRecord
from bindings.failure import FailureKind

#: A host that serves ``say``: its kind, its name in hosted.py, the path.
SAYS = pytest.mark.parametrize(
    ("kind", "name", "path"),
    [("asgi", "application", "/say"), ("http", "main", "/"), ("cloudevent", "event_main", "/")],
)
DOCUMENT = {"accept": reply.MEDIA_TYPE}


def event(offset: int = 15, do: str = "", key: bytes | None = b"alice", **value: Any) -> WireRecord:
    """A record of the stream ``orders``."""
    content = json.dumps({"do": do, **value}).encode()
    return WireRecord("orders", 0, offset, 1_700_000_000_123, key, content, (("h", b"1"), ("h", None)))


def post(url: str, made: tuple[dict[str, str], bytes], **headers: str) -> httpx.Response:
    """Post headers and body that an envelope has made."""
    return httpx.post(url, headers={**made[0], **headers}, content=made[1], timeout=10)


@SAYS
def test_a_cloudevent_is_handed_over_whole(serve: Callable[..., str], kind: str, name: str, path: str) -> None:
    """In binary and in structured mode the function gets id, key, headers and value of the event, the attempt and the
    time that is left from the caller, and its result comes back as a CloudEvent that the public SDK reads."""
    url = serve(kind, name) + path
    for made in (cloudevents.binary(event()), cloudevents.structured(event())):
        came = post(url, made, **{"dispatch-attempt": "3", "dispatch-timeout": "7.5"})
        assert came.status_code == 200, came.text
        result = from_http(dict(came.headers), came.content)
        assert result["type"] == "answers"
        said = result.data
        assert 6 < said.pop("remaining") <= 7.5
        assert said == {"id": "orders/0/15", "key": "alice", "headers": [["h", "1"], ["h", None]], "attempt": 3}


@SAYS
def test_an_event_of_the_public_sdk_is_taken(serve: Callable[..., str], kind: str, name: str, path: str) -> None:
    """An event that another program made with the CloudEvents SDK, with no stream behind it, is handed over: its source
    stands for the stream, its attributes are headers."""
    made = CloudEvent({"type": "order.placed", "source": "/shop", "id": "A1", "partitionkey": "bob"}, {"do": ""})
    for headers, body in (to_binary(made), to_structured(made)):
        came = post(serve(kind, name) + path, (dict(headers), body))
        said = from_http(dict(came.headers), came.content).data
        assert said["id"] == "/shop/0/0"
        assert said["key"] == "bob"
        assert ["ce_id", "A1"] in said["headers"]


@SAYS
def test_what_went_wrong_is_a_status_that_any_caller_understands(
    serve: Callable[..., str], kind: str, name: str, path: str
) -> None:
    """A failure is 500, a rejection and what can't be decoded 422, a wish for later 503 with Retry-After, a time-out 504;
    no result is 204."""
    url = serve(kind, name) + path

    def status(record: WireRecord, **headers: str) -> tuple[int, str | None]:
        came = post(url, cloudevents.binary(record), **headers)
        return came.status_code, came.headers.get("retry-after")

    assert status(event(do="fail")) == (500, None)
    assert status(event(do="reject")) == (422, None)
    assert status(event(do="later")) == (503, "7")
    assert status(event(do="nothing")) == (204, None)
    assert status(event(do="sleep"), **{"dispatch-timeout": "0.2"}) == (504, None)
    if kind != "cloudevent":  # the framework itself wants JSON under application/json
        assert status(event()._replace(value=b"not JSON")) == (422, None)


@SAYS
def test_a_dispatcher_is_told_all_that_the_function_says(
    serve: Callable[..., str], kind: str, name: str, path: str
) -> None:
    """Asked for the document, a host answers 200 with failures and results as they were said."""
    url = serve(kind, name) + path

    def told(do: str) -> Any:
        came = post(url, cloudevents.binary(event(do=do)), **DOCUMENT)
        assert came.status_code == 200
        assert came.headers["content-type"] == reply.MEDIA_TYPE
        return reply.decode(came.content, 1)

    later = told("later").rest
    assert (later.kind, later.retry_after, later.message) == (FailureKind.FUNCTION, 7.0, "busy")
    assert told("reject").rest.kind is FailureKind.TERMINAL
    assert [json.loads(emit.value) for emit in told("two").results] == [{"number": 1}, {"number": 2}]


@pytest.mark.parametrize(("kind", "name", "path"), [("asgi", "application", "/say"), ("http", "main", "/")])
def test_the_other_envelopes_are_taken(serve: Callable[..., str], kind: str, name: str, path: str) -> None:
    """The value as it is, an AWS Kafka event, Pub/Sub's push, a list of CloudEvents as plain JSON, and bare JSON as a
    person types it."""
    url = serve(kind, name) + path
    as_json = {"content-type": "application/json"}
    for made, id_ in (
        (raw.encode(event()), "orders/0/15"),
        ((as_json, aws_kafka.encode([event()])), "orders/0/15"),
        ((as_json, pubsub.encode(event(), subscription="projects/p/subscriptions/s")), "orders/0/15"),
        ((as_json, cloudevents.batched([event()])[1]), "orders/0/15"),
        ((as_json, b'{"a": 1}'), "orders/0/0"),
    ):
        came = post(url, made)
        assert came.status_code == 200, came.text
        assert from_http(dict(came.headers), came.content).data["id"] == id_


def test_what_another_caller_sends_together_runs_lane_by_lane(serve: Callable[..., str]) -> None:
    """A function of single events gets each of a batch; lanes run side by side, a key's events one after another, and
    what follows a failed one in its lane is not run and is named as failed with it."""
    records = [
        event(1, key=b"a"), event(2, key=b"a", do="fail"), event(3, key=b"a"), event(4, key=b"b"), event(5, key=None),
    ]  # fmt: skip
    url = serve("asgi", "application") + "/one_by_one"
    began = time.monotonic()
    came = post(url, cloudevents.batched(records), **DOCUMENT)
    took = time.monotonic() - began
    read = reply.decode(came.content, len(records))
    assert {index: failure.error_type for index, failure in read.failures.items()} == {
        1: "ValueError", 2: "EarlierEventFailed",
    }  # fmt: skip
    spans = {said["id"]: said for said in (json.loads(emit.value) for emit in read.results)}
    assert set(spans) == {"orders/0/1", "orders/0/4", "orders/0/5"}
    assert max(span["began"] for span in spans.values()) < min(span["ended"] for span in spans.values()), took
    partial = post(url, cloudevents.batched(records)).json()
    failed = [item["itemIdentifier"]["offset"] for item in partial["batchItemFailures"]]
    assert failed == [2, 3]


def test_a_batch_function_gets_batches_of_its_size(serve: Callable[..., str]) -> None:
    """What is more than its max_events comes in pieces, and all results come back as CloudEvents."""
    came = post(serve("asgi", "application") + "/in_batches", cloudevents.batched([event(n) for n in range(7)]))
    assert came.headers["content-type"] == cloudevents.BATCH
    assert [each["data"]["events"] for each in came.json()] == [3, 3, 1]


def test_an_asgi_application_guards_its_door(serve: Callable[..., str]) -> None:
    """Without the token nothing runs; what is too large, no POST, or posted to nobody is refused with what to do."""
    url = serve("asgi", "single")
    made = cloudevents.binary(event())
    assert post(url, made).status_code == 401
    assert post(url, made, authorization="Bearer other").status_code == 401
    given = {"authorization": "Bearer s3cret"}
    assert post(url, made, **given).status_code == 200
    assert post(url, ({}, b"x" * 1_001), **given).status_code == 413
    assert post(url, ({"content-type": cloudevents.STRUCTURED}, b"{"), **given).status_code == 400
    assert httpx.get(url).status_code == 405
    missing = post(f"{url}/nobody", made, **given)
    assert missing.status_code == 404
    assert "say" in missing.json()["detail"]
    assert httpx.get(f"{url}/livez").text == "ok"
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_a_function_stops_when_its_caller_has_hung_up(serve: Callable[..., str]) -> None:
    """A request that is given up cancels its function: its answer would be read by nobody."""
    url = serve("asgi", "application") + "/say"

    def cancelled() -> int:
        came = post(url, cloudevents.binary(event(do="cancelled")))
        number: int = from_http(dict(came.headers), came.content).data
        return number

    before = cancelled()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, content=json.dumps({"do": "sleep"}), timeout=0.2)
    give_up = time.monotonic() + 10
    while cancelled() == before:
        assert time.monotonic() < give_up, "the function sleeps on"
        time.sleep(0.02)
