"""A function says the same over every target: one contract, run over each, against this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import process_functions as functions
import pytest
from host_servers import PYTHON_PATH, HostServers
from lambda_server import LambdaServer, credentials
from process_functions import OUT, STREAM, Order
from stage import Came, Stage, binding_of, order

from bindings import Binding
from bindings.signature import Signature
from dispatcher.config.targets import AwsLambdaTarget, HttpTarget
from dispatcher.core.record import Outgoing
from dispatcher.invokers.base import Invoker
from dispatcher.invokers.making import make_invoker
from dispatcher.invokers.process import ProcessInvoker, ProcessLimits

SAYINGS = [
    "", "reject", "later", "fail", "once", "unpayable", "exit", "stop", "cancel", "object", "generator", "emit", "context",
]  # fmt: skip


def told(came: Came) -> dict[str, Any]:
    """All that can be seen from outside, but for the order in which events of different keys were settled."""
    s = came.statistics
    return {
        "counts": (s.consumed, s.done, s.dead_lettered, s.retried, s.not_delivered, s.emitted),
        "dead": came.dead,
        "places": came.places,
        "results": sorted((record.headers[-1], record.key, record.value, record.headers) for record in came.results),
    }


class Elsewhere:
    """A place other than this process: gives the invoker of a binding there."""

    def __init__(self, place: str, hosts: HostServers, lambdas: LambdaServer) -> None:
        self.place = place
        self._hosts = hosts
        self._lambdas = lambdas

    async def invoker(self, binding: Binding) -> Invoker | None:
        """Start what serves the binding's function, and make what calls it."""
        name = binding.function.__name__
        if self.place == "process":
            return ProcessInvoker(binding, limits=ProcessLimits(processes=2))
        if self.place == "lambda":
            await self._lambdas.add(name, f"lambdas.{name}", path=Path(PYTHON_PATH))
            described = AwsLambdaTarget(type="aws_lambda", function=name, endpoint_url=self._lambdas.url)
            return make_invoker(binding, described)
        kind, _, envelope = self.place.partition(":")
        if kind == "asgi":
            url = f"{await asyncio.to_thread(self._hosts.start, 'asgi', 'everything')}/{binding.name}"
        else:
            url = await asyncio.to_thread(self._hosts.start, "http", f"ff_{name}")
        return make_invoker(binding, HttpTarget(type="http", url=url, envelope=envelope))


PLACES = [
    "process",
    "asgi:cloudevents",
    "asgi:cloudevents_structured",
    "asgi:aws_kafka",
    "http:cloudevents_json",
    "lambda",
]


@pytest.fixture(params=PLACES)
async def elsewhere(
    request: pytest.FixtureRequest, hosts: HostServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Elsewhere]:
    """Each pair of an invoker and a host, and a process of this machine."""
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    async with LambdaServer(tmp_path) as lambdas:
        yield Elsewhere(request.param, hosts, lambdas)


async def over_both(stage: Stage, elsewhere: Elsewhere, function: Callable[..., Any], **changes: Any) -> dict[str, Any]:
    """Run a function here and there, each in an app of its own, and compare; returns what both told."""
    binding = binding_of(function, **changes)
    local = await stage.through(binding, None, app="local")
    letters, records = len(local.dead), len(local.results)
    there = await stage.through(binding, await elsewhere.invoker(binding), app="elsewhere")
    # The streams are shared: what the second one added is what came behind.
    first, second = told(local), told(there._replace(results=there.results[records:]))
    assert first == second
    assert len(there.dead) == letters
    return first


@pytest.mark.parametrize("function", [functions.sync_says, functions.async_says])
async def test_what_a_function_says_of_an_event(
    stage: Stage, elsewhere: Elsewhere, function: Callable[..., Any]
) -> None:
    """Done, failed, failed once, Reject, Retry.after, give_up_on, sys.exit(), a cancellation let through, results of all
    shapes and such as can't be: counts, dead letters and results are the same in this process and in another, for
    a sync and for an async function."""
    await stage.send([*(order(id_, do) for id_, do in enumerate(SAYINGS)), b"not JSON", b'{"id": "x"}'])

    came = await over_both(stage, elsewhere, function)

    reasons = {value: facts[0] for value, facts in came["dead"].items()}
    assert reasons == {
        order(1, "reject"): "rejected",
        order(2, "later"): "attempts",
        order(3, "fail"): "attempts",
        order(5, "unpayable"): "not_retryable",
        order(6, "exit"): "attempts",
        order(7, "stop"): "attempts",
        order(8, "cancel"): "attempts",
        order(9, "object"): "attempts",
        order(10, "generator"): "attempts",
        b"not JSON": "rejected",
        b'{"id": "x"}': "rejected",
    }
    assert came["counts"][1] == 4
    assert came["places"][order(3, "fail")].startswith("process_functions.py:")


@pytest.mark.parametrize(
    "sayings",
    [
        ["", "reject", "fail", "once", ""],
        ["", "poison", "", ""],
        ["", "wrong", ""],
        ["", "lambda", ""],
        ["poison"],
    ],
)
async def test_what_a_function_says_of_a_batch(stage: Stage, elsewhere: Elsewhere, sayings: list[str]) -> None:
    """Events that are named one by one, a batch that fails as a whole and is split, a failure of no event, the answer
    of an AWS Lambda function, and an event amid them that can't be decoded: the same over both targets."""
    await stage.send([*(order(id_, do) for id_, do in enumerate(sayings)), b"not JSON"])
    came = await over_both(stage, elsewhere, functions.names_failures)
    assert came["dead"][b"not JSON"][0] == "rejected"


async def test_what_a_function_sees_of_an_event(stage: Stage, elsewhere: Elsewhere) -> None:
    """Value, key, headers (names that come twice, no values, no UTF-8), id and timestamp reach another process as
    they are, for an event without a value too."""
    headers = (("a", b"1"), ("a", b"\xff\x00"), ("none", None), ("", b""), ("naïve", "ü".encode()))
    await stage.send(
        [
            Outgoing(
                topic=STREAM, key=b"\x00\xffkey", value=b"\xff\x00value", headers=headers, timestamp=1_700_000_000_123
            ),
            Outgoing(topic=STREAM, key=None, value=None, headers=headers),
            Outgoing(topic=STREAM, key=b"", value=b""),
        ]
    )
    came = await over_both(stage, elsewhere, functions.describes)
    assert came["counts"][1] == 3
    assert len(came["results"]) == 3


async def test_a_function_that_declares_no_results_has_none(stage: Stage, elsewhere: Elsewhere) -> None:
    """What it returns stays unread over both targets."""
    await stage.send([order(1)])
    came = await over_both(stage, elsewhere, functions.is_silent)
    assert came["results"] == []
    assert came["counts"][1] == 1


async def test_a_function_bound_by_configuration_alone(stage: Stage) -> None:
    """A function that nothing decorates runs in a process too."""
    await stage.send([order(1)])
    binding = Binding(
        function=functions.undecorated,
        name="undecorated",
        streams=(STREAM,),
        signature=Signature.of(functions.undecorated, {"Order": Order}),
        emits=OUT,
    )
    came = await stage.through(binding, ProcessInvoker(binding))
    assert came.values == [{"id": 1}]
