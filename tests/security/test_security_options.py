"""The options of the client library come from the configuration, never from an event (Kafka Connect's CVE-2023-25194)."""

from __future__ import annotations

import json

import pytest

from bindings import Emit, Event, Retry, on_stream
from dispatcher.brokers.kafka import KafkaSettings
from dispatcher.core.record import Outgoing
from dispatcher.errors import ConfigurationError
from tests.worker.bench import Bench

JNDI = 'com.sun.security.auth.module.JndiLoginModule required user.provider.url="ldap://127.0.0.1:1/x";'
OPTIONS = {
    "sasl.jaas.config": JNDI,
    "sasl_plain_password": "p",
    "bootstrap.servers": "127.0.0.1:1",
    "bootstrap_servers": "127.0.0.1:1",
    "security.protocol": "PLAINTEXT",
    "group.id": "another",
    "value.deserializer": "org.apache.commons.collections.functors",
    "DISPATCH_BROKER": "kafka://127.0.0.1:1",
    "topic": "elsewhere",
    "dispatch-emit-topic": "elsewhere",
    "dispatch-dead-stream": "elsewhere",
    "__proto__": "x",
}


@pytest.mark.parametrize("what", ["handled", "failed", "emitted"])
async def test_an_event_sets_no_option_and_chooses_no_stream(bench: Bench, what: str) -> None:
    """Options in an event's key, value and headers are data: results and dead letters go where the code says, the connection
    is the same, and no other stream is made."""
    stream, out = await bench.stream(), await bench.stream("out")
    headers = tuple((name, value.encode()) for name, value in OPTIONS.items())
    event = Outgoing(
        topic=stream, key=json.dumps(OPTIONS).encode(), value=json.dumps(OPTIONS).encode(), headers=headers
    )
    await bench.send(stream, [event] * 3)
    before = bench.broker.url

    @on_stream(stream, emits=out, retry=Retry(max_attempts=2, initial=0.01))
    async def handle(event: Event[dict]) -> Emit | None:
        if what == "failed":
            raise RuntimeError(JNDI)
        return Emit(event.value, event.key, event.headers) if what == "emitted" else None

    statistics = await bench.catch_up(handle)
    assert statistics.done + statistics.dead_lettered == 3
    names = {info.name for info in await bench.broker.list_streams()}
    assert {name for name in names if not name.startswith("_")} == {stream, out, f"{stream}.handle.dead"}
    assert bench.broker.url == before
    assert len(await bench.read(out)) == (3 if what == "emitted" else 0)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://127.0.0.1:9092?sasl.jaas.config=x",
        "kafka://127.0.0.1:9092/?sasl_plain_password=x",
        "kafka://127.0.0.1:9092#ssl_context=x",
        "kafka://user:secret@127.0.0.1:9092",
        "kafka://127.0.0.1:9092/topic;security.protocol=PLAINTEXT",
    ],
)
def test_a_brokers_url_holds_addresses_alone(url: str) -> None:
    """No option rides on a URL, which may come from a script's argument; and none of it is repeated when it is a secret."""
    with pytest.raises(ConfigurationError) as raised:
        KafkaSettings.from_url(url, None)
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize(
    "option", ["sasl_jaas_config", "sasl.jaas.config", "ssl_context", "value_deserializer", "api_version"]
)
def test_only_settings_that_are_known_are_taken(option: str) -> None:
    """Nothing is handed through to the client library by its name."""
    with pytest.raises(ConfigurationError):
        KafkaSettings.parse(servers="127.0.0.1:9092", **{option: JNDI})
