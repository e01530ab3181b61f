"""Secrets: found where they are, and told to nobody."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.brokers.kafka import KafkaSettings
from dispatcher.config.configuration import load
from dispatcher.errors import ConfigurationError

Write = Callable[..., Path]

CANARY = "canary-7f3a91"


def password() -> str:
    """The password with which Kafka would be reached."""
    value: str = KafkaSettings.from_url("kafka://host", load().kafka).connection_options()["sasl_plain_password"]
    return value


def test_a_secret_comes_from_a_file_a_variable_or_its_setting(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without its line end; a variable that the file names; and DISPATCH_KAFKA__PASSWORD over both."""
    write(f"{CANARY}-file\n", "secret")
    write('[kafka]\nusername = "me"\npassword = {file = "secret"}\n')
    assert password() == f"{CANARY}-file"
    write('[kafka]\nusername = "me"\npassword = {env = "SHOP_PASSWORD"}\n')
    monkeypatch.setenv("SHOP_PASSWORD", f"{CANARY}-variable")
    assert password() == f"{CANARY}-variable"
    monkeypatch.setenv("DISPATCH_KAFKA__PASSWORD", f"{CANARY}-setting")
    assert password() == f"{CANARY}-setting"
    monkeypatch.delenv("DISPATCH_KAFKA__PASSWORD")
    write(f"{CANARY}-other", "other")
    monkeypatch.setenv("DISPATCH_KAFKA__PASSWORD__FILE", "other")
    assert password() == f"{CANARY}-other"


@pytest.mark.parametrize("secret", ["0123", '"quoted"', "[1]", '{"a": 1}', "null", "a,b", " spaced "])
def test_a_secret_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """However much it looks like a number, JSON or a list."""
    monkeypatch.setenv("DISPATCH_KAFKA__USERNAME", "me")
    monkeypatch.setenv("DISPATCH_KAFKA__PASSWORD", secret)
    assert password() == secret


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["password", "key_password", "token"])
def test_a_line_end_is_no_part_of_a_secret(write: Write, monkeypatch: pytest.MonkeyPatch, name: str, end: str) -> None:
    """In a file, a variable that the file names, and its setting: an editor, a shell or a store of secrets has put it there."""
    write(f" {CANARY} {end}", "secret")
    monkeypatch.setenv("SHOP_SECRET", f" {CANARY} {end}")
    for place in ("file", "env"):
        write(f'[kafka]\n{name} = {{ {place} = "{"secret" if place == "file" else "SHOP_SECRET"}" }}\n')
        reference = getattr(load().kafka, name)
        assert reference.read().get_secret_value() == f" {CANARY} "
    monkeypatch.setenv(f"DISPATCH_KAFKA__{name.upper()}", f" {CANARY} {end}")
    assert getattr(load().kafka, name).get_secret_value() == f" {CANARY} "


def test_a_variable_with_nothing_but_a_line_end_is_an_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an empty file is: no broker is asked with an empty password."""
    write('[kafka]\nusername = "me"\npassword = {env = "SHOP_PASSWORD"}\n')
    monkeypatch.setenv("SHOP_PASSWORD", "\n")
    with pytest.raises(ConfigurationError, match="SHOP_PASSWORD, which is to hold a secret, is not set or is empty"):
        password()


@pytest.mark.parametrize("name", ["password", "key_password", "token"])
def test_a_secret_in_the_file_is_an_error(write: Write, name: str) -> None:
    """Such a file is committed; the message says what to write, and does not hold the secret."""
    write(f'[kafka]\n{name} = "{CANARY}"\n')
    with pytest.raises(
        ConfigurationError, match=rf"dispatch\.toml:2: kafka\.{name}: a secret is not written"
    ) as raised:
        load()
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def test_settings_can_be_read_without_the_secrets(write: Write) -> None:
    """A list or an offline check on a machine that has none works; only reaching the broker needs them."""
    write('[kafka]\nusername = "me"\npassword = {file = "/run/secrets/absent"}\nkey_password = {env = "ABSENT"}\n')
    kafka = load().kafka
    with pytest.raises(ConfigurationError, match=r"can't read the secret in /run/secrets/absent: No such file"):
        KafkaSettings.from_url("kafka://host", kafka)


def test_an_empty_secret_is_an_error(write: Write) -> None:
    """An empty file is a mount that failed, not a password."""
    write("\n", "secret")
    write('[kafka]\nusername = "me"\npassword = {file = "secret"}\n')
    with pytest.raises(ConfigurationError, match="is empty"):
        password()


@pytest.mark.parametrize(
    "words",
    [
        ("config", "show"),
        ("config", "show", "--json"),
        ("streams", "list"),
        ("check", "app.py"),
        ("run", "app.py"),
        ("run", "app.py", "--log-level", "debug"),
        ("list", "app.py"),
    ],
)
@pytest.mark.parametrize("mistake", [{}, {"DISPATCH_KAFKA__RAK": "x"}, {"DISPATCH_KAFKA__CA_FILE": "absent.pem"}])
def test_no_command_tells_a_secret(dispatch: Any, words: tuple[str, ...], mistake: dict[str, str]) -> None:
    """Whatever is typed and however it fails: a broker that is not there, a wrong setting, a missing certificate."""
    dispatch.write("app.py", "from bindings import on_stream\n@on_stream('a')\ndef f(e: dict) -> None: ...\n")
    dispatch.write("token", CANARY)
    done = dispatch(
        *words,
        DISPATCH_BROKER="kafka://127.0.0.1:1",
        DISPATCH_KAFKA__USERNAME="me",
        DISPATCH_KAFKA__PASSWORD=CANARY,
        DISPATCH_KAFKA__KEY_PASSWORD=CANARY,
        DISPATCH_KAFKA_PASSWORD=CANARY if mistake else "",
        DISPATCH_KAFKA__REQUEST_TIMEOUT="1",
        **mistake,
    )
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr


def test_no_object_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the configuration nor the settings made from it, in any form that a log or a traceback takes."""
    monkeypatch.setenv("DISPATCH_KAFKA__USERNAME", "me")
    monkeypatch.setenv("DISPATCH_KAFKA__PASSWORD", CANARY)
    configuration = load()
    settings = KafkaSettings.from_url("kafka://host", configuration.kafka)
    shown = [repr(each) + str(each) for each in (configuration, configuration.kafka, settings)]
    shown += [configuration.kafka.model_dump_json(), settings.model_dump_json(), str(settings.model_dump())]
    assert CANARY not in "".join(shown)


def test_a_url_with_a_password_is_refused_and_not_repeated(dispatch: Any) -> None:
    """Flags and URLs take no secrets: they are seen in process lists."""
    done = dispatch("streams", "list", "--broker", f"kafka://me:{CANARY}@host")
    assert done.code == 1
    assert "takes no user or password" in done.stderr
    assert CANARY not in done.stderr
