"""Every way to be let into a Kafka cluster, tried on a real one, and the rights that a worker needs there."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
import types
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kafka_acls import DESCRIBE, GROUP, READ, TOPIC, WRITE, allow
from kafka_server import WORKER, KafkaCluster

from bindings import bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import AuthenticationFailed, AuthorizationFailed, BrokerError, ConfigurationError
from dispatcher.worker import Worker

pytestmark = pytest.mark.kafka

USER, PASSWORD = WORKER


def unsecured_jwt(user: str, *, lifetime: float = 300.0) -> str:
    """A token as Kafka's unsecured validator takes it (RFC 7515, appendix A.5): no signature."""
    now = time.time()

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    # Whole seconds, as issuers write them: the broker's clock counts milliseconds, and this one's fraction would be ahead.
    return f"{part({'alg': 'none'})}.{part({'sub': user, 'iat': int(now), 'exp': int(now + lifetime)})}."


@pytest.fixture
async def own_stream(kafka_cluster: KafkaCluster) -> AsyncIterator[str]:
    """A stream that the user ``worker``, and no other, may describe: who sees it was known as that user."""
    name = f"secure-{uuid.uuid4().hex[:10]}"
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        await owner.create_stream(StreamInfo(name=name, partitions=1))
        await allow(kafka_cluster.bootstrap(), USER, name, DESCRIBE)
        yield name


async def sees(settings: KafkaSettings, stream: str) -> bool:
    """Whether the cluster lets these settings in, as the user who may see the stream."""
    async with KafkaBroker(settings) as broker:
        return stream in {info.name for info in await broker.list_streams()}


async def test_tls_alone_makes_nobody(kafka_cluster: KafkaCluster, own_stream: str) -> None:
    """The control: TLS lets in whom it does not know, who is the cluster's super user here, and no worker."""
    settings = KafkaSettings(servers=kafka_cluster.bootstrap("tls"), ca_file=kafka_cluster.ca_file)
    assert settings.security_protocol == "SSL"
    assert await sees(settings, own_stream)


async def test_a_client_certificate_is_who_one_is(kafka_cluster: KafkaCluster, own_stream: str, tmp_path: Path) -> None:
    """mTLS: the certificate's name is the user; another's sees nothing, and without one nobody is let in."""
    asked: dict[str, Any] = {"servers": kafka_cluster.bootstrap("mtls"), "ca_file": kafka_cluster.ca_file}
    certificate, key = kafka_cluster.client_certificate(USER, tmp_path)
    assert await sees(KafkaSettings(**asked, cert_file=certificate, key_file=key), own_stream)
    certificate, key = kafka_cluster.client_certificate("guest", tmp_path)
    assert not await sees(KafkaSettings(**asked, cert_file=certificate, key_file=key), own_stream)
    with pytest.raises(BrokerError, match=r"certificate.*DISPATCH_KAFKA__CERT_FILE"):
        await sees(KafkaSettings(**asked), own_stream)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_over_tls(
    kafka_cluster: KafkaCluster, own_stream: str, mechanism: str, tmp_path: Path
) -> None:
    """SASL_SSL, which a user name chooses by itself, with the password in a file; a wrong one is refused."""
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    given: dict[str, Any] = {
        "servers": kafka_cluster.bootstrap("sasl_tls"),
        "ca_file": kafka_cluster.ca_file,
        "sasl_mechanism": mechanism,
        "username": USER,
        "password": {"file": secret},
    }
    settings = await asyncio.to_thread(KafkaSettings.parse, **given)
    assert settings.security_protocol == "SASL_SSL"
    assert await sees(settings, own_stream)
    secret.write_text("not-this-one")
    with pytest.raises(AuthenticationFailed, match=f"refuses the user '{USER}' with {mechanism}") as raised:
        await sees(await asyncio.to_thread(KafkaSettings.parse, **given), own_stream)
    assert "not-this-one" not in str(raised.value)


def oauth(cluster: KafkaCluster, token: object) -> KafkaSettings:
    """SASL/OAUTHBEARER over TLS, which a token chooses by itself."""
    return KafkaSettings.parse(servers=cluster.bootstrap("sasl_tls"), ca_file=cluster.ca_file, token=token)


async def test_a_token_from_a_file_is_read_again(kafka_cluster: KafkaCluster, own_stream: str, tmp_path: Path) -> None:
    """OAUTHBEARER: whom the token names is let in; a new token in the file is used at the next connection."""
    file = tmp_path / "token"
    settings = oauth(kafka_cluster, {"file": file})
    file.write_text(unsecured_jwt(USER))
    assert await sees(settings, own_stream)
    file.write_text(unsecured_jwt("guest"))
    assert not await sees(settings, own_stream)


async def test_a_token_that_is_not_taken(kafka_cluster: KafkaCluster, own_stream: str, tmp_path: Path) -> None:
    """Expired, or no token at all: AuthenticationFailed names the setting, and holds no token."""
    expired = unsecured_jwt(USER, lifetime=-100)
    (tmp_path / "token").write_text(expired)
    with pytest.raises(AuthenticationFailed, match="token") as raised:
        await sees(oauth(kafka_cluster, {"file": tmp_path / "token"}), own_stream)
    assert expired not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"can't read the secret in .*absent"):
        await sees(oauth(kafka_cluster, {"file": tmp_path / "absent"}), own_stream)


async def test_a_token_that_is_refused_later(
    kafka_cluster: KafkaCluster, own_stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third connection is not let in, and is made again: nothing is read out of the end of its login."""
    tokens = iter([unsecured_jwt(USER), unsecured_jwt(USER), unsecured_jwt(USER, lifetime=-100)])
    monkeypatch.setattr(sys.modules[__name__], "token_of_worker", lambda: next(tokens, unsecured_jwt(USER)))
    assert await sees(oauth(kafka_cluster, {"call": f"{__name__}:token_of_worker"}), own_stream)
    assert next(tokens, None) is None


def token_of_worker() -> str:
    """What a user's own module would offer."""
    return unsecured_jwt(USER)


async def token_awaited() -> str:
    """The same, from a coroutine function."""
    return unsecured_jwt(USER)


def token_that_fails() -> str:
    """With a secret in what it says."""
    raise RuntimeError("canary-5b1c")


@pytest.mark.parametrize("function", ["token_of_worker", "token_awaited"])
async def test_a_token_from_a_function(kafka_cluster: KafkaCluster, own_stream: str, function: str) -> None:
    """A plain or a coroutine function of the user's own, by its name."""
    assert await sees(oauth(kafka_cluster, {"call": f"{__name__}:{function}"}), own_stream)


async def test_a_function_that_gives_no_token(kafka_cluster: KafkaCluster, own_stream: str) -> None:
    """The error names the function and what it raised, and not what that said; one that is not there is named too."""
    with pytest.raises(AuthenticationFailed, match=r"token_that_fails.*: RuntimeError") as raised:
        await sees(oauth(kafka_cluster, {"call": f"{__name__}:token_that_fails"}), own_stream)
    assert "canary" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="has no function nothing"):
        await sees(oauth(kafka_cluster, {"call": f"{__name__}:nothing"}), own_stream)


async def test_aws_msk_iam_signs_a_token(
    kafka_cluster: KafkaCluster, own_stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What AWS's signer makes, for the region that is set, travels as OAUTHBEARER; here a signer of ours makes it."""
    asked: list[tuple[str, ...]] = []

    def note(*arguments: str) -> tuple[str, int]:
        asked.append(arguments)
        return unsecured_jwt(USER), 0

    signer = types.ModuleType("aws_msk_iam_sasl_signer")
    signer.MSKAuthTokenProvider = types.SimpleNamespace(  # type: ignore[attr-defined]
        generate_auth_token=note,
        generate_auth_token_from_profile=note,
        generate_auth_token_from_role_arn=note,
    )
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", signer)
    given = {
        "servers": kafka_cluster.bootstrap("sasl_tls"),
        "ca_file": kafka_cluster.ca_file,
        "sasl_mechanism": "AWS_MSK_IAM",
        "aws_region": "eu-central-1",
    }
    assert await sees(KafkaSettings.parse(**given), own_stream)
    assert set(asked) == {("eu-central-1",)}
    asked.clear()
    assert await sees(KafkaSettings.parse(**given, aws_role_arn="arn:aws:iam::1:role/r"), own_stream)
    assert set(asked) == {("eu-central-1", "arn:aws:iam::1:role/r")}


async def test_the_real_signers_token_has_msks_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base64url URL, signed (SigV4) for ``kafka-cluster:Connect`` in the region: aws-msk-iam-sasl-signer's README."""
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "canary-2e"}.items():
        monkeypatch.setenv(name, value)
    settings = KafkaSettings.parse(servers="host", sasl_mechanism="AWS_MSK_IAM", aws_region="eu-central-1")
    options = settings.connection_options()
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    assert options["security_protocol"] == "SASL_SSL"
    token = await options["sasl_oauth_token_provider"].token()
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert url.startswith("https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect")
    assert "X-Amz-Signature=" in url
    assert "canary" not in url


async def test_msk_without_its_signer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is an extra."""
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    settings = KafkaSettings.parse(servers="host", sasl_mechanism="AWS_MSK_IAM", aws_region="eu-central-1")
    with pytest.raises(ConfigurationError, match=r"dispatch-runtime\[msk\]"):
        await settings.connection_options()["sasl_oauth_token_provider"].token()


Rights = dict[str, tuple[int, ...]]

KINDS = {"source": TOPIC, "group": GROUP, "dead": TOPIC}
LEAST: Rights = {"source": (READ, DESCRIBE), "group": (READ,), "dead": (WRITE, DESCRIBE)}


class Guarded:
    """A source, a group prefix and a dead-letter topic, for which ``worker`` has the rights of least privilege."""

    def __init__(self, cluster: KafkaCluster, rights: Rights) -> None:
        self.cluster = cluster
        self.rights = rights
        mark = uuid.uuid4().hex[:10]
        self.app = f"app-{mark}"
        self.names = {"source": f"source-{mark}", "group": f"{self.app}.", "dead": f"dead-{mark}"}
        self.seen: list[object] = []

    async def run(self) -> None:
        """A worker, as that user, over two events of which one becomes a dead letter."""
        async with KafkaBroker(self.cluster.bootstrap()) as owner:
            for which in ("source", "dead"):
                await owner.create_stream(StreamInfo(name=self.names[which], partitions=1))
            producer = await owner.producer()
            try:
                for value in (b'{"good": 1}', b"{"):
                    await producer.send(Outgoing(topic=self.names["source"], value=value))
            finally:
                await producer.close()
        for which, operations in self.rights.items():
            for operation in operations:
                await allow(self.cluster.bootstrap(), USER, self.names[which], operation, kind=KINDS[which])

        @on_stream(self.names["source"], dead_letter=self.names["dead"])
        async def handle(value: dict) -> None:
            self.seen.append(value)

        settings = KafkaSettings.parse(
            servers=self.cluster.bootstrap("sasl_tls"),
            ca_file=self.cluster.ca_file,
            username=USER,
            password=PASSWORD,
            instance_id="worker-1",
            rack="rack-1",
            request_timeout=5.0,
        )
        async with KafkaBroker(settings) as broker:
            [binding] = bindings_of(handle)
            await Worker(binding, broker, app=self.app, settings=Settings(), until_caught_up=True).run()


async def test_a_worker_needs_no_more_than_these_rights(kafka_cluster: KafkaCluster) -> None:
    """READ on the source, READ on the groups of the app, WRITE on the dead letters: both events are settled."""
    guarded = Guarded(kafka_cluster, LEAST)
    await guarded.run()
    assert guarded.seen == [{"good": 1}]
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        source, dead = (TopicPartition(guarded.names[name], 0) for name in ("source", "dead"))
        assert await owner.end_offsets([dead]) == {dead: 1}
        committed = (await owner.committed(f"{guarded.app}.handle", [source]))[source]
        assert committed is not None
        assert committed.offset == 2


@pytest.mark.parametrize(
    ("which", "left", "needed"),
    [
        ("source", (), "DESCRIBE on the topic"),
        ("source", (DESCRIBE,), "READ on the topic"),
        ("group", (), "READ on the group"),
        ("group", (DESCRIBE,), "READ on the group"),
        ("dead", (), "DESCRIBE on the topic"),
    ],
)
async def test_each_right_that_is_missing_is_named(
    kafka_cluster: KafkaCluster, which: str, left: tuple[int, ...], needed: str
) -> None:
    """The error has the resource and the operation, so that an administrator can be asked for just that."""
    guarded = Guarded(kafka_cluster, {**LEAST, which: left})
    with pytest.raises(AuthorizationFailed) as raised:
        await guarded.run()
    resource = f"{guarded.app}.handle" if which == "group" else guarded.names[which]
    assert f"this user needs {needed} {resource}" in str(raised.value)
    assert guarded.seen == []
