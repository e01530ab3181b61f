"""The target ``aws_lambda``: a worker in front, AWS's real runtime client behind the Invoke API of the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError
from host_servers import PYTHON_PATH
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lambda_server import REGION, LambdaServer, credentials
from process_functions import STREAM
from stage import Came, Stage, binding_of
from yarl import URL

from bindings import Batch, Binding, Event, Retry, on_stream
from bindings.envelopes import aws_kafka
from bindings.invocation import Reply
from dispatcher.config.targets import AwsLambdaTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.aws_lambda.invoker import LambdaInvoker
from dispatcher.invokers.aws_lambda.signing import Credentials, CredentialsChain, SigV4
from dispatcher.invokers.http.failures import not_delivered
from dispatcher.invokers.making import make_invoker

PATH = Path(PYTHON_PATH)


@pytest.fixture
async def lambdas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LambdaServer]:
    """A Lambda with nothing deployed, and the keys to it in the environment."""
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    async with LambdaServer(tmp_path) as server:
        yield server


@on_stream(STREAM, retry=Retry(max_attempts=2, initial=0.0), emits="results", timeout=10.0)
def plain(event: Event[bytes]) -> None:
    """Stands for a function that is not ours."""


@on_stream(STREAM, retry=Retry(max_attempts=2, initial=0.0), batch=Batch(max_events=10, max_wait=0.2), order="none")
def batches(events: list[bytes]) -> None:
    """Stands for a function of batches that is not ours."""


async def through(
    stage: Stage, server: LambdaServer, function: Callable[..., Any] | Binding, name: str, **target: Any
) -> Came:
    """Run a binding over all events, its target a Lambda function; every request must be signed rightly."""
    binding = function if isinstance(function, Binding) else binding_of(function)
    described = AwsLambdaTarget(type="aws_lambda", function=name, endpoint_url=server.url, **target)
    came = await stage.through(binding, make_invoker(binding, described))
    assert server.bad_signatures == 0
    return came


async def test_a_function_written_for_the_trigger_of_aws_works_unchanged(stage: Stage, lambdas: LambdaServer) -> None:
    """Powertools' parser and batch processor take the event, and what they name as failed is delivered again, alone."""
    await lambdas.add("powertools", "lambdas.powertools", path=PATH)
    await stage.send([b"fine", b"fail", b"also fine"])
    came = await through(
        stage, lambdas, batches, "powertools", event_source_arn="arn:aws:kafka:eu-west-1:1:cluster/c/1"
    )
    assert came.dead[b"fail"][0] == "attempts"
    assert (came.statistics.done, len(came.dead)) == (2, 1)
    sent = [json.loads(request.payload) for request in lambdas.requests]
    assert [len(event["records"]["events-0"]) for event in sent] == [3, 1]
    assert {event["eventSource"] for event in sent} == {"aws:kafka"}


async def test_what_a_function_that_is_not_ours_says(stage: Stage, lambdas: LambdaServer) -> None:
    """A value it returns is a result; an exception, an exit, what is no JSON and what is too large are each a failed attempt
    with the runtime's own words; a 500 of nobody is none."""
    await lambdas.add("plain", "lambdas.plain", path=PATH)
    await stage.send([b"fine", b"fail", b"set", b"huge"])
    came = await through(stage, lambdas, plain, "plain", max_reply=6_000_000)
    assert [value["got"] for value in came.values] == [1]
    said = {value: facts[1:] for value, facts in came.dead.items()}
    assert said[b"fail"] == ("ValueError", "wrong", "2")
    assert said[b"set"][0] == "Runtime.MarshalError"
    assert said[b"huge"][0] == "InvalidReply"
    assert "max_reply" in said[b"huge"][1]


async def test_a_function_that_times_out_has_failed(stage: Stage, lambdas: LambdaServer) -> None:
    """Lambda's own time-out is an attempt with Lambda's words, and the next event runs in a new process."""
    await lambdas.add("plain", "lambdas.plain", path=PATH, timeout=2.0)
    await stage.send([b"sleep", b"fine"])
    binding = binding_of(plain, retry=Retry(max_attempts=1))
    came = await through(stage, lambdas, binding, "plain")
    assert came.dead[b"sleep"][1] == "Sandbox.Timedout"
    assert came.statistics.done == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, "TooManyRequestsException"),
        (502, "ENILimitReachedException"),
        (502, "KMSAccessDeniedException"),
        (502, "ResourceNotReadyException"),
        (409, "ResourceConflictException"),
        (500, "ServiceException"),
        (403, "AccessDeniedException"),
    ],
)
async def test_what_kept_the_function_from_running_is_no_attempt(
    stage: Stage, lambdas: LambdaServer, status: int, error: str
) -> None:
    """Throttles and all other errors of the API, more of them than there are attempts, use none: the event is handled after,
    by one request an offer, since no client tries again behind the dispatcher's back."""
    await lambdas.add("plain", "lambdas.plain", path=PATH)
    lambdas.fail(status, error, times=4, retry_after="0")
    await stage.send([b"fine"])
    came = await through(stage, lambdas, plain, "plain")
    assert (came.statistics.done, came.statistics.not_delivered, came.dead) == (1, 4, {})
    assert len(lambdas.requests) == 5


class WithTheSdk:
    """A target that is called as boto3 does by default: what the dispatcher must not do."""

    keeps_time = True
    concurrency = 1

    def __init__(self, server: LambdaServer) -> None:
        self._client = boto3.client("lambda", endpoint_url=server.url, region_name=REGION)

    async def invoke(self, batch: Sequence[Any]) -> Reply:
        payload = aws_kafka.encode([delivery.origin for delivery in batch])
        try:
            await asyncio.to_thread(self._client.invoke, FunctionName="plain", Payload=payload)
        except ClientError as error:
            return Reply(rest=not_delivered("ClientError", str(error), retry_after=0.0))
        return Reply()

    def results(self, returned: object) -> Sequence[Any]:
        return ()

    async def close(self) -> None:
        self._client.close()


@pytest.mark.parametrize("arm", ["dispatch", "the SDK's own retries"])
async def test_each_request_is_counted(stage: Stage, lambdas: LambdaServer, arm: str) -> None:
    """As many requests reach Lambda as deliveries are counted. The control, boto3 with its defaults, sends more than anybody
    knows of: a function that takes no repetition would be run again behind the budget's back."""
    await lambdas.add("plain", "lambdas.plain", path=PATH)
    lambdas.fail(500, "ServiceException", times=4, retry_after="0")
    await stage.send([b"fine"])
    if arm == "dispatch":
        came = await through(stage, lambdas, plain, "plain")
    else:
        came = await stage.through(binding_of(plain), WithTheSdk(lambdas))
    counted = came.statistics.not_delivered + came.statistics.retried + came.statistics.done
    assert came.statistics.done == 1
    assert (len(lambdas.requests) == counted) is (arm == "dispatch")


async def test_a_lost_connection_is_one_attempt(stage: Stage, lambdas: LambdaServer) -> None:
    """A request that was hung up on may have run: one attempt, one request each."""
    await lambdas.add("plain", "lambdas.plain", path=PATH)
    lambdas.reset(times=2)
    await stage.send([b"fine"])
    came = await through(stage, lambdas, plain, "plain")
    assert came.dead[b"fine"][0] == "attempts"
    assert len(lambdas.requests) == 2


async def test_a_batch_that_is_too_large_is_split_by_its_bytes(stage: Stage, lambdas: LambdaServer) -> None:
    """No payload is larger than Lambda takes; an event that is so alone is a dead letter for that reason."""
    await lambdas.add("powertools", "lambdas.powertools", path=PATH)
    await stage.send([*(bytes([65 + number]) * 400_000 for number in range(6)), b"x" * 1_000_000])
    came = await through(stage, lambdas, batches, "powertools", max_request=1_200_000)
    assert [facts[0] for facts in came.dead.values()] == ["oversize"]
    assert came.statistics.done == 6
    assert max(len(request.payload) for request in lambdas.requests) <= 1_200_000


async def test_an_asynchronous_invocation_hands_over(stage: Stage, lambdas: LambdaServer) -> None:
    """With ``invocation = "event"`` what Lambda has taken is done, whatever becomes of it there."""
    await lambdas.add("plain", "lambdas.plain", path=PATH)
    await stage.send([b"fail"])
    came = await through(stage, lambdas, plain, "plain", invocation="event", qualifier="live")
    assert (came.statistics.done, came.dead) == (1, {})
    assert [(request.kind, request.qualifier) for request in lambdas.requests] == [("Event", "live")]


async def test_a_cold_start_blocks_no_other_event(stage: Stage, lambdas: LambdaServer) -> None:
    """A function whose first process takes seconds to start is waited for, and loses nothing."""
    await lambdas.add("plain", "lambdas.plain", path=PATH, processes=2, cold_start=2.0)
    await stage.send([b"fine"] * 8)
    came = await through(stage, lambdas, plain, "plain")
    assert (came.statistics.done, came.statistics.retried) == (8, 0)


async def test_without_credentials_nothing_is_lost(
    stage: Stage, lambdas: LambdaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No credentials is no attempt, and says what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="set AWS_ACCESS_KEY_ID"):
        await CredentialsChain().get()


def test_a_target_without_a_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the first event, with what to set."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ConfigurationError, match="in which region is f"):
        LambdaInvoker(binding_of(plain), AwsLambdaTarget(type="aws_lambda", function="f"))


_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@settings(max_examples=200)
@given(
    name=_TEXT.filter(bool),
    query=st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=3),
    token=st.none() | st.just("a/session+token=="),
    body=st.binary(max_size=50),
    header=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
)
@example(name=".", query={}, token=None, body=b"", header="")
@example(name="..", query={}, token=None, body=b"", header="")
def test_a_signature_is_that_of_the_sdk(
    name: str, query: dict[str, str], token: str | None, body: bytes, header: str
) -> None:
    """For any function, query, header, body and token, the signature is the one that botocore makes of the same."""
    path = f"/2015-03-31/functions/{quote(name, safe='')}/invocations"
    # As the SDK makes it: all of it escaped.
    url = URL(
        f"https://lambda.eu-west-1.amazonaws.com{path}?{urlencode(query, quote_via=quote, safe='')}", encoded=True
    )
    now = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    headers = {"content-type": "application/json", "x-amz-client-context": header}
    signer = SigV4("eu-west-1", "lambda", CredentialsChain())
    made = signer.signed("POST", url, headers, body, Credentials("AKID", "secret", token), now)

    request = AWSRequest("POST", str(url), {**headers, "X-Amz-Date": made["x-amz-date"]}, body)
    if token:
        request.headers["X-Amz-Security-Token"] = token
    request.context["timestamp"] = made["x-amz-date"]
    theirs = SigV4Auth(BotoCredentials("AKID", "secret", token), "lambda", "eu-west-1")
    expected = theirs.signature(theirs.string_to_sign(request, theirs.canonical_request(request)), request)
    assert made["authorization"].endswith(f"Signature={expected}")
