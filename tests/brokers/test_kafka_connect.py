"""Why a cluster can't be reached: each cause has its own error, and says what to check."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from kafka_server import SUPER_USER, USER_WITHOUT_RIGHTS, KafkaCluster, free_ports

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.core.record import TopicPartition
from dispatcher.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    BrokerError,
    BrokerUnavailable,
    DispatchError,
    UntrustedBroker,
)


async def why(settings: KafkaSettings) -> BrokerError:
    """What connecting raises, with the promise that holds for each: no secret in it, and an end in 10 s."""
    began = time.monotonic()
    with pytest.raises(BrokerError) as raised:
        async with KafkaBroker(settings):
            pass
    assert time.monotonic() - began < 10
    error: BaseException | None = raised.value
    while error is not None:
        assert not settings.password or settings.password.get_secret_value() not in str(error)
        error = error.__cause__
    return raised.value


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.close()


async def test_a_port_where_nothing_listens() -> None:
    """Refused: the port, or a broker that is down."""
    [port] = free_ports(1)
    error = await why(KafkaSettings(servers=f"127.0.0.1:{port}"))
    assert type(error) is BrokerUnavailable
    assert f"127.0.0.1:{port}: nothing listens there" in str(error)


async def test_a_port_that_says_nothing() -> None:
    """A firewall, or another program: found within the time limit, which is 10 s unless set."""
    assert KafkaSettings(servers="host").request_timeout == 10.0
    async with listening() as port:
        error = await why(KafkaSettings(servers=f"127.0.0.1:{port}", request_timeout=1.0))
    assert type(error) is BrokerUnavailable
    assert "no answer in 1 s" in str(error)


async def test_a_host_that_is_not_known() -> None:
    """A name that DNS does not have (RFC 6761 keeps .invalid free)."""
    error = await why(KafkaSettings(servers="broker.invalid:9092"))
    assert type(error) is BrokerUnavailable
    assert "broker.invalid:9092: no such host" in str(error)


async def test_each_server_says_its_own_reason() -> None:
    """With two servers and two causes, both are in the message."""
    [port] = free_ports(1)
    error = await why(KafkaSettings(servers=f"127.0.0.1:{port},broker.invalid:9092"))
    assert re.search(r"nothing listens there.*; broker\.invalid:9092: no such host", str(error))


async def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    """Its authority is trusted and its host is right, and it is still refused, with the reason."""
    authority = trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with listening(context) as port:
        error = await why(KafkaSettings(servers=f"127.0.0.1:{port}", ca_file=tmp_path / "ca.pem"))
    assert type(error) is UntrustedBroker
    assert "out of date" in str(error)


@pytest.mark.kafka
async def test_a_server_that_is_silent_does_not_hold_up_the_others(kafka_bootstrap: str) -> None:
    """The broker's own client would wait 10 s for the silent one whenever chance puts it first."""
    async with listening() as port:
        for _ in range(4):
            began = time.monotonic()
            async with KafkaBroker(f"127.0.0.1:{port},{kafka_bootstrap}") as broker:
                await broker.list_streams()
                producer = await broker.producer()
                await producer.close()
            assert time.monotonic() - began < 5


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password(kafka_cluster: KafkaCluster, mechanism: str) -> None:
    """AuthenticationFailed names the user; with the right password the same settings connect."""
    right = {
        "servers": kafka_cluster.bootstrap("sasl"),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "username": SUPER_USER[0],
    }
    error = await why(KafkaSettings(**right, password="not-this-one"))
    assert type(error) is AuthenticationFailed
    assert f"user '{SUPER_USER[0]}'" in str(error)
    assert "DISPATCH_KAFKA__PASSWORD" in str(error)
    async with KafkaBroker(KafkaSettings(**right, password=SUPER_USER[1])) as broker:
        await broker.list_streams()


@pytest.mark.kafka
async def test_a_mechanism_that_the_broker_does_not_have(kafka_cluster: KafkaCluster) -> None:
    """The listener has PLAIN and SCRAM-SHA-512; the plain one has no SASL at all."""
    asked = {"security_protocol": "SASL_PLAINTEXT", "username": "me", "password": "not-this-one"}
    error = await why(KafkaSettings(servers=kafka_cluster.bootstrap("sasl"), sasl_mechanism="SCRAM-SHA-256", **asked))
    assert type(error) is AuthenticationFailed
    assert "does not take SCRAM-SHA-256" in str(error)
    error = await why(KafkaSettings(servers=kafka_cluster.bootstrap("plain"), **asked))
    assert type(error) is AuthenticationFailed
    assert "SECURITY_PROTOCOL" in str(error)


@pytest.mark.kafka
async def test_a_certificate_of_an_unknown_authority(kafka_cluster: KafkaCluster) -> None:
    """UntrustedBroker names the setting for the authority; with it the same cluster is reached."""
    error = await why(KafkaSettings(servers=kafka_cluster.bootstrap("tls"), security_protocol="SSL"))
    assert type(error) is UntrustedBroker
    assert "DISPATCH_KAFKA__CA_FILE" in str(error)
    trusting = KafkaSettings(servers=kafka_cluster.bootstrap("tls"), ca_file=kafka_cluster.ca_file)
    async with KafkaBroker(trusting) as broker:
        await broker.list_streams()


@pytest.mark.kafka
async def test_a_certificate_of_another_host(kafka_cluster: KafkaCluster) -> None:
    """The certificate is for localhost, and the same broker was asked for as 127.0.0.1."""
    servers = kafka_cluster.bootstrap("tls").replace("localhost", "127.0.0.1")
    error = await why(KafkaSettings(servers=servers, ca_file=kafka_cluster.ca_file))
    assert type(error) is UntrustedBroker
    assert "another host" in str(error)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("listener", "security"),
    [("plain", {"security_protocol": "SSL"}), ("tls", {}), ("sasl", {})],
    ids=["TLS to a plaintext port", "plaintext to a TLS port", "plaintext to a SASL port"],
)
async def test_another_protocol_than_the_listener_speaks(
    kafka_cluster: KafkaCluster, listener: str, security: dict[str, str]
) -> None:
    """The broker only hangs up; the message names the setting to check, and does not wait for a timeout."""
    began = time.monotonic()
    error = await why(KafkaSettings(servers=kafka_cluster.bootstrap(listener), **security))
    assert type(error) is BrokerUnavailable
    assert "DISPATCH_KAFKA__SECURITY_PROTOCOL" in str(error)
    assert time.monotonic() - began < 3


@pytest.mark.kafka
async def test_a_user_who_may_do_nothing(kafka_cluster: KafkaCluster) -> None:
    """Consuming, producing and creating raise AuthorizationFailed; none of it looks like an outage."""
    name, password = USER_WITHOUT_RIGHTS
    settings = KafkaSettings(
        servers=kafka_cluster.bootstrap("sasl"), security_protocol="SASL_PLAINTEXT", username=name, password=password
    )
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        await owner.create_stream(StreamInfo(name="guarded", partitions=1))
    async with KafkaBroker(settings) as broker:
        with pytest.raises(AuthorizationFailed):
            await broker.create_stream(StreamInfo(name="forbidden", partitions=1))
        with pytest.raises(AuthorizationFailed):
            await broker.describe("guarded")
        with pytest.raises(AuthorizationFailed):
            await broker.committed("somebody", [TopicPartition("guarded", 0)])
        with pytest.raises(AuthorizationFailed):
            await broker.producer()


async def test_a_broker_that_is_not_connected_says_so() -> None:
    """A question before entering it raises, rather than hanging."""
    with pytest.raises(DispatchError, match="not connected"):
        await KafkaBroker("127.0.0.1:1").list_streams()
