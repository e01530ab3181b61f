"""Where a cluster is and as whom to come: read from a URL and a section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dispatcher.brokers.kafka import KafkaSettings
from dispatcher.config.kafka import KafkaOptions
from dispatcher.errors import ConfigurationError


def test_a_url_names_the_servers() -> None:
    """Several servers, with the default port filled in; the URL that is shown is the same cluster."""
    settings = KafkaSettings.from_url("kafka://one:9093,two")
    assert settings.servers == ("one:9093", "two:9092")
    assert settings.url == "kafka://one:9093,two:9092"
    assert settings.security_protocol == "PLAINTEXT"


def test_an_ipv6_address_keeps_its_brackets() -> None:
    """The colons of an address are not taken for a port's."""
    assert KafkaSettings.from_url("kafka://[::1],[::1]:9093").servers == ("[::1]:9092", "[::1]:9093")


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """The message says where it belongs, and does not hold it."""
    with pytest.raises(ConfigurationError, match="DISPATCH_KAFKA__PASSWORD") as raised:
        KafkaSettings.from_url("kafka://me:hunter2@host:9092")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["host:9092", "http://host", "kafka://", "kafka://host/topic", "kafka://host?acks=1"])
def test_what_is_no_broker_url_is_refused(url: str) -> None:
    """Another scheme, no server, a path or options."""
    with pytest.raises(ConfigurationError):
        KafkaSettings.from_url(url)


@pytest.mark.parametrize("server", ["host:port", "host:0", "host:70000", ":9092", "a b:1"])
def test_what_is_no_server_is_refused(server: str) -> None:
    """Each server is host:port."""
    with pytest.raises(ConfigurationError, match="host:port"):
        KafkaSettings.parse(servers=server)


def test_the_section_gives_the_security_settings() -> None:
    """A user name chooses SASL over TLS, never in the clear; the password stays hidden."""
    options = KafkaOptions(username="me", password=SecretStr("hunter2"))
    settings = KafkaSettings.from_url("kafka://host", options)
    assert (settings.security_protocol, settings.username, settings.rack) == ("SASL_SSL", "me", None)
    assert "hunter2" not in repr(settings) + str(settings) + settings.url + settings.model_dump_json()
    assert settings.connection_options()["sasl_plain_password"] == "hunter2"


@pytest.mark.parametrize(
    "given",
    [
        {"username": "me"},
        {"security_protocol": "PLAINTEXT", "username": "me", "password": "hunter2"},
        {"security_protocol": "PLAINTEXT", "ca_file": "ca.pem"},
        {"security_protocol": "TLS"},
        {"username": "me", "password": "hunter2", "sasl_mechanism": "hunter2"},
        {"sasl_mechanism": "OAUTHBEARER"},
        {"sasl_mechanism": "PLAIN", "token": {"file": "token"}},
        {"sasl_mechanism": "AWS_MSK_IAM", "security_protocol": "SASL_PLAINTEXT"},
        {"key_file": "key.pem", "ca_file": "ca.pem"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    """The message is one line, and repeats no value."""
    with pytest.raises(ConfigurationError) as raised:
        KafkaSettings.parse(servers="host", **given)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    """The path is in the message."""
    settings = KafkaSettings.parse(servers="host", ca_file=tmp_path / "absent.pem")
    assert settings.security_protocol == "SSL"
    with pytest.raises(ConfigurationError, match=r"absent\.pem"):
        settings.ssl_context()
