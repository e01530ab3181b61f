"""A decorated function as a Lambda handler, in the real runtime client of AWS."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from host_servers import PYTHON_PATH
from lambda_server import LambdaServer
from test_hosts_http import event

from bindings.envelopes import aws_kafka, reply
from bindings.envelopes.record import WireRecord

PATH = Path(PYTHON_PATH)
FROM_DISPATCHER = {"custom": {"accept": reply.MEDIA_TYPE, "dispatch-attempt": "3"}}


@pytest.fixture
async def lambdas(tmp_path: Path) -> AsyncIterator[LambdaServer]:
    """A Lambda with nothing deployed."""
    async with LambdaServer(tmp_path) as server:
        yield server


async def invoke(
    server: LambdaServer, name: str, records: list[WireRecord], context: dict[str, Any] | None = None
) -> tuple[str | None, Any]:
    """Invoke as AWS's trigger does, or, with a client context, as a dispatcher; returns the function error and the payload."""
    headers = (
        {} if context is None else {"X-Amz-Client-Context": base64.b64encode(json.dumps(context).encode()).decode()}
    )
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{server.url}/2015-03-31/functions/{name}/invocations",
            data=aws_kafka.encode(records, arn="arn:aws:kafka:eu-west-1:1:cluster/c/1"),
            headers=headers,
        ) as came,
    ):
        assert came.status == 200
        return came.headers.get("X-Amz-Function-Error"), await came.json(content_type=None)


async def test_a_dispatcher_is_told_all_that_the_function_says(lambdas: LambdaServer) -> None:
    """With a client context of a dispatcher the function knows its attempt, and its results, failures and waits come
    back in the document, beside AWS's own answer."""
    await lambdas.add("say", "lambdas.say", path=PATH)
    error, came = await invoke(lambdas, "say", [event()], FROM_DISPATCHER)
    assert error is None
    assert came["batchItemFailures"] == []
    said = json.loads(reply.decode(came["dispatch"], 1).results[0].value)
    assert 25 < said.pop("remaining") < 30
    assert said == {"id": "orders/0/15", "key": "alice", "headers": [["h", "1"], ["h", None]], "attempt": 3}
    _, came = await invoke(lambdas, "say", [event(do="later")], FROM_DISPATCHER)
    assert came["batchItemFailures"] == [{"itemIdentifier": {"partition": "orders-0", "offset": 15}}]
    rest = reply.decode(came["dispatch"], 1).rest
    assert rest is not None
    assert (rest.retry_after, rest.error_type) == (7.0, "RetryAfter")


async def test_the_trigger_of_aws_is_told_which_events_failed(lambdas: LambdaServer) -> None:
    """Invoked with many records by an event source mapping, the function gets them one by one; the answer names those
    that failed, and those behind them in their lane."""
    await lambdas.add("one", "lambdas.one_by_one", path=PATH)
    records = [event(1, key=b"a", do="fail"), event(2, key=b"b"), event(3, key=b"a")]
    error, came = await invoke(lambdas, "one", records)
    assert error is None
    assert [each["itemIdentifier"]["offset"] for each in came["batchItemFailures"]] == [1, 3]
    assert "Traceback" in lambdas.log("one")


async def test_nothing_is_lost_where_partial_failures_are_not_reported(lambdas: LambdaServer) -> None:
    """When all events failed, or any has with ``partial=False``, the handler raises: a trigger that does not read
    batchItemFailures delivers all of them again."""
    await lambdas.add("one", "lambdas.one_by_one", path=PATH)
    await lambdas.add("all", "lambdas.all_or_nothing", path=PATH)
    error, came = await invoke(lambdas, "one", [event(do="fail")])
    assert (error, came["errorType"]) == ("Unhandled", "InvocationFailed")
    assert came["errorMessage"] == "1 of 1 events failed: ValueError: wrong"
    error, came = await invoke(lambdas, "all", [event(1), event(2, key=b"b", do="fail")])
    assert (error, came["errorMessage"]) == ("Unhandled", "1 of 2 events failed: ValueError: wrong")


async def test_a_payload_that_is_no_kafka_event_is_an_error(lambdas: LambdaServer) -> None:
    """What another service sends fails, with what is wrong: it is not taken for nothing to do."""
    await lambdas.add("say", "lambdas.say", path=PATH)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{lambdas.url}/2015-03-31/functions/say/invocations", json={"Records": []}) as came,
    ):
        assert came.headers["X-Amz-Function-Error"] == "Unhandled"
        assert (await came.json())["errorType"] == "EnvelopeError"


async def test_a_function_is_named_by_the_environment(lambdas: LambdaServer, tmp_path: Path) -> None:
    """The ready handler serves what DISPATCH_FUNCTION names, so that a function's folder needs no file for Lambda; what names none
    ends the start with the reason, in the log and before any event."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "function.py").write_text(
        "from bindings import on_stream\n\n@on_stream('orders', emits='seen')\ndef see(order: dict) -> dict:\n    return order\n"
        "\n@on_stream('orders')\ndef other(order: dict) -> None: ...\n"
    )
    path = Path(os.pathsep.join((str(package), str(PATH))))
    ready = "bindings.hosts.lambda_function.lambda_handler"
    await lambdas.add("see", ready, path=path, environment={"DISPATCH_FUNCTION": "function:see"})
    error, came = await invoke(lambdas, "see", [WireRecord("orders", 0, 1, 0, b"k", b'{"n": 1}')], FROM_DISPATCHER)
    assert error is None
    assert [json.loads(each.value) for each in reply.decode(came["dispatch"], 1).results] == [{"n": 1}]
    for number, (environment, why) in enumerate(
        [
            ({}, "set DISPATCH_FUNCTION"),
            ({"DISPATCH_FUNCTION": "function"}, "names 2 functions"),
            ({"DISPATCH_FUNCTION": "function:se"}, "did you mean see"),
        ]
    ):
        name = f"wrong-{number}"
        await lambdas.add(name, ready, path=path, environment=environment)
        async with asyncio.timeout(30):
            while why not in lambdas.log(name):
                await asyncio.sleep(0.05)
