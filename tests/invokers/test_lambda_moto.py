"""The Invoke API's own errors and the credentials to it, against another's AWS: moto's server, and a container's endpoint.

boto3 is the witness: what it says of an answer is what the target says of the same one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError
from moto_server import moto_server
from stage import Stage, binding_of, until

from bindings import Event, Retry, on_stream
from bindings.envelopes.record import WireRecord
from bindings.failure import FailureKind
from dispatcher.config.targets import AwsLambdaTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.aws_lambda.invoker import LambdaInvoker
from dispatcher.invokers.aws_lambda.signing import Credentials, CredentialsChain
from dispatcher.invokers.making import make_invoker

REGION = "eu-west-1"


@on_stream("events", retry=Retry(max_attempts=2, initial=0.0), timeout=5.0)
def plain(event: Event[bytes]) -> None:
    """Stands for a function that is elsewhere."""


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Static keys, and nothing of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMOTO")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """An AWS of moto, as a server."""
    with moto_server() as url:
        yield url


def invoke_by_boto3(url: str, **asked: Any) -> tuple[int, str, str]:
    """Status, code and message of the error that the SDK raises."""
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("lambda", region_name=REGION, endpoint_url=url, config=config)
    with pytest.raises(ClientError) as caught:
        client.invoke(Payload=b"{}", **asked)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


async def invoke(url: str, function: str, **target: Any) -> Any:
    """What the target says of one event."""
    described = AwsLambdaTarget(type="aws_lambda", function=function, endpoint_url=url, region=REGION, **target)
    invoker = LambdaInvoker(binding_of(plain), described)
    try:
        return await invoker.invoke([delivery()])
    finally:
        await invoker.close()


def delivery() -> Any:
    """A delivery of one event, as the scheduler makes it."""
    return _Delivered()


class _Delivered:
    origin = WireRecord("events", 0, 7, 0, b"k", b"{}")
    attempts = 0


async def test_a_function_that_is_not_there_is_named_as_the_sdk_names_it(keys: None, moto: str) -> None:
    """A missing function, and a version of one that is there, are no attempt, with status, code and message of AWS: the log says
    what to mend, and the event waits for it."""
    expected = await asyncio.to_thread(invoke_by_boto3, moto, FunctionName="missing")
    failure = (await invoke(moto, "missing")).rest
    assert expected[:2] == (404, "ResourceNotFoundException")
    assert failure.kind is FailureKind.NOT_DELIVERED
    assert failure.error_type == expected[1]
    assert failure.message == f"{expected[1]}: {expected[2]}"
    by_arn = (await invoke(moto, f"arn:aws:lambda:{REGION}:123456789012:function:missing", qualifier="live")).rest
    assert by_arn.error_type == "ResourceNotFoundException"


async def test_an_event_waits_for_a_function_that_is_not_there_yet(
    keys: None, moto: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is offered it uses no attempt and is no dead letter."""
    await stage.send([b"{}"])
    binding = binding_of(plain)
    described = AwsLambdaTarget(type="aws_lambda", function="missing", endpoint_url=moto)
    worker = stage.worker(binding, make_invoker(binding, described), ends=False)
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.statistics().not_delivered >= 3, "three offers")
    statistics = worker.statistics()
    assert (statistics.dead_lettered, statistics.retried, statistics.done) == (0, 0, 0)
    worker.stop()
    await task


# -- credentials


class ContainerCredentials:
    """What ECS, EKS and Greengrass give a container's processes: keys of a role at an address, for a while."""

    def __init__(self) -> None:
        self.url = ""
        self.lifetime = 3600.0
        self.asked = 0
        self.is_silent = self.is_broken = False

    async def answer(self, request: web.Request) -> web.Response:
        """Give new keys."""
        assert request.headers["Authorization"] == "pod-token"
        self.asked += 1
        if self.is_silent:
            await asyncio.sleep(600)
        if self.is_broken:
            return web.json_response({"message": "no"}, status=500)
        ends = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        return web.json_response(
            {
                "AccessKeyId": f"ASIA{self.asked:04}",
                "SecretAccessKey": "secret",
                "Token": f"token-{self.asked}",
                "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )


@pytest.fixture
async def container(keys: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ContainerCredentials]:
    """A container's endpoint, and an environment that names it and nothing else."""
    made = ContainerCredentials()
    application = web.Application()
    application.router.add_get("/role", made.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/role"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", made.url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")
    yield made
    await runner.cleanup()


async def test_credentials_that_end_are_renewed_before(container: ContainerCredentials) -> None:
    """Keys that are good for six seconds are new ones after three, without a request that bears ended ones; those that are
    good for an hour are asked for once. Nothing of it is on the event loop."""
    container.lifetime = 6.0
    chain = CredentialsChain()
    first = await chain.get()
    assert first.token == f"token-{first.access_key[-1]}"
    ends = asyncio.get_running_loop().time() + 4.9  # its end is written in whole seconds
    while (now := await chain.get()).access_key == first.access_key:
        assert asyncio.get_running_loop().time() < ends, "ended keys"
        await asyncio.sleep(0.01)
    assert now.token != first.token

    container.lifetime, container.asked = 3600.0, 0
    long_lived = CredentialsChain()
    found = {await long_lived.get() for _ in range(100)}
    assert (container.asked, len(found)) == (1, 1)


async def test_many_requests_at_once_ask_once(container: ContainerCredentials) -> None:
    """The first look is shared by all that wait for it."""
    chain = CredentialsChain()
    found = await asyncio.gather(*(chain.get() for _ in range(64)))
    assert container.asked == 1
    assert {each.access_key for each in found} == {"ASIA0001"}


async def test_keys_that_are_good_are_used_while_new_ones_are_not_to_be_had(
    container: ContainerCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint that hangs or fails stops nobody as long as the keys at hand are good, and a warning says so."""
    container.lifetime = 8.0
    chain = CredentialsChain()
    first = await chain.get()
    container.is_broken = True
    await until(lambda: chain.current() is None, "the time to look again")
    with caplog.at_level(logging.WARNING, "dispatcher.invokers.aws_lambda"):
        began = asyncio.get_running_loop().time()
        assert await chain.get() == first
        assert asyncio.get_running_loop().time() - began < 0.5
        await until(lambda: "could not be renewed" in caplog.text, "the warning")
    assert first.secret_key not in caplog.text


async def test_an_endpoint_that_hangs_is_no_attempt(
    container: ContainerCredentials, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invocation whose credentials do not come in its time ends in it, undelivered, and leaves the next one no second look."""
    container.is_silent = True
    described = AwsLambdaTarget(type="aws_lambda", function="f", endpoint_url=moto, region=REGION)
    invoker = LambdaInvoker(binding_of(plain, timeout=0.3), described)
    try:
        failure = (await invoker.invoke([delivery()])).rest
        assert failure is not None
        assert (failure.kind, failure.error_type) == (FailureKind.NOT_DELIVERED, "CredentialsMissing")
        assert "in time" in failure.message
        asked = container.asked
        await invoker.invoke([delivery()])
        assert container.asked == asked == 1
    finally:
        await invoker.close()


async def test_a_role_that_is_assumed_is_renewed(
    keys: None, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that assumes a role gets keys of it from STS, as the SDK would, with the session's token."""
    (tmp_path / "config").write_text(
        f"[profile base]\nregion = {REGION}\naws_access_key_id = AKIABASE\naws_secret_access_key = base\n"
        "[profile orders]\nrole_arn = arn:aws:iam::123456789012:role/orders\nsource_profile = base\n"
        f"region = {REGION}\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    found = await CredentialsChain("orders").get()
    assert found.access_key.startswith("ASIA")
    assert found.token


async def test_refused_credentials_are_read_again(keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in a file that were changed there are found once the old ones are refused: no restart."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\n")
    chain = CredentialsChain()
    assert (await chain.get()).access_key == "AKIAOLD"
    file.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n")
    assert (await chain.get()).access_key == "AKIAOLD"
    chain.doubt()
    await chain.get()
    await until(lambda: chain.current() == Credentials("AKIANEW", "new", None), "the new keys")


async def test_a_profile_that_is_not_there_says_so(keys: None) -> None:
    """As the SDK says it, and without a traceback."""
    with pytest.raises(ConfigurationError, match="nobody"):
        await CredentialsChain("nobody").get()
