"""Mistakes: every one is told, at once, with its place and the nearest right name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.config.configuration import load
from dispatcher.errors import ConfigurationError

Write = Callable[..., Path]


def mistakes(**given: str) -> str:
    """What is said of the configuration in the working folder."""
    with pytest.raises(ConfigurationError) as raised:
        load(**given)
    return str(raised.value)


def test_all_of_them_are_told_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown and wrong ones, in all tables, from the file and the environment, in a profile that is not chosen too."""
    write("""drain = -1
[kafka]
rak = "x"
[functions.f]
order = "kei"
batch = { max_event = 1 }
target = { type = "process", memry = 1 }
retry.max_attempts = 0
[profiles.prod]
comit_interval = 1
[profiles.prod.kafka]
rack = 5
""")
    monkeypatch.setenv("DISPATCH_FUNCTIONS__F__TIMEOUT", "soon")
    monkeypatch.setenv("DISPATCH_KAFKA__INSTANCEID", "x")
    monkeypatch.setenv("DISPATCH_DRAINS", "3")
    said = mistakes().splitlines()
    assert said[0] == "11 settings are wrong:"
    for line in (
        "  dispatch.toml:1: drain: commit_interval and drain are 0 seconds or more",
        "  dispatch.toml:3: kafka.rak: there is no such setting; did you mean rack?",
        "  dispatch.toml:5: functions.f.order: it should be 'key', 'partition' or 'none'",
        "  dispatch.toml:6: functions.f.batch.max_event: there is no such setting; did you mean max_events?",
        "  dispatch.toml:7: functions.f.target.memry: there is no such setting; did you mean memory?",
        "  dispatch.toml:8: functions.f.retry.max_attempts: Retry(max_attempts)=0: it is a whole number, 1 to 10,000 attempts",
        "  dispatch.toml:10: profiles.prod.comit_interval: there is no such setting; did you mean commit_interval?",
        "  dispatch.toml:12: profiles.prod.kafka.rack: it should be a valid string",
        "  DISPATCH_FUNCTIONS__F__TIMEOUT: it should be a valid number, unable to parse string as a number",
        "  DISPATCH_KAFKA__INSTANCEID: there is no such setting; did you mean instance_id?",
        "  DISPATCH_DRAINS: there is no such setting; did you mean DISPATCH_DRAIN?",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drain = \n", r"dispatch\.toml is not TOML: .*line 1"),
        ("functions = 3\n", r"dispatch\.toml:1: functions: "),
        ("profiles = 3\n", r"dispatch\.toml:1: profiles are tables"),
        ("[functions.f]\nstart = 'yesterday'\n", r"dispatch\.toml:2: functions\.f\.start: start='yesterday' is not"),
        ("[functions.f]\nstart = 2026-01-01\n", r"dispatch\.toml:2: functions\.f\.start: .*no time zone"),
        ("[functions.f]\nstreams = []\n", r"dispatch\.toml:2: functions\.f\.streams"),
        ("[functions.f]\nemits = 'a b'\n", r"dispatch\.toml:2: functions\.f\.emits: 'a b' is not a stream name"),
        ("[functions.f]\ndead_letter = 'a b'\n", r"dispatch\.toml:2: functions\.f\.dead_letter: 'a b' is not"),
        ("[functions.f]\nconcurrency = 0\n", r"dispatch\.toml:2: functions\.f\.concurrency: concurrency=0: it is"),
        (
            "[functions.f]\nretry = {retry_on = ['Nope']}\n",
            r":2: functions\.f\.retry\.retry_on: 'Nope' is no exception",
        ),
        ("[functions.f]\ntarget = 'moon'\n", r"dispatch\.toml:2: functions\.f\.target: .*'local', 'process'"),
        (
            "[functions.f]\ntarget = {type = 'process', memory = 'much'}\n",
            r"functions\.f\.target\.memory: 'much' is not",
        ),
        ("[functions.f]\nfunction = 'nothing'\n", r"dispatch\.toml:2: functions\.f\.function: "),
        ("app = 'a b'\n", r"dispatch\.toml:1: app: 'a b' can't be an app's name"),
        ("broker = 'nats://x'\n", r"dispatch\.toml:1: broker: 'nats://x' is not a broker"),
        (
            "[kafka]\npassword = {file = 'a', env = 'B'}\n",
            r"dispatch\.toml:2: kafka\.password: a secret is at one place",
        ),
        ("[kafka]\npassword = {}\n", r"dispatch\.toml:2: kafka\.password: a secret is at one place"),
        ("[kafka]\ntoken = {call = 'nothing'}\n", r"dispatch\.toml:2: kafka\.token\.call: "),
    ],
)
def test_each_kind_of_mistake_names_its_place(write: Write, text: str, said: str) -> None:
    """One line, with file, line and key, and what the policy itself says of such a value."""
    import re

    write(text)
    message = mistakes()
    assert re.search(said, message), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("DISPATCH_KAFKA_PASSWORD", "DISPATCH_KAFKA__PASSWORD"),
        ("DISPATCH_BROKERS", "DISPATCH_BROKER"),
        ("DISPATCH_PROFIL", "DISPATCH_PROFILE"),
    ],
)
def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, near: str) -> None:
    """A misspelt variable would silently do nothing; its value is not repeated."""
    monkeypatch.setenv(name, "hunter2")
    assert mistakes() == f"{name}: there is no such setting; did you mean {near}?"


def test_an_unknown_profile_is_an_error(write: Write) -> None:
    """With the nearest one; and a profile without a file, or a file without profiles, says what is missing."""
    assert "there is no dispatch.toml for the profile 'prod'" in mistakes(profile="prod")
    write("drain = 1\n")
    assert mistakes(profile="prod").endswith("it has no [profiles.NAME] at all")
    write("[profiles.prod]\n")
    assert mistakes(profile="prd") == "dispatch.toml has no profile 'prd'; did you mean prod?"


def test_a_file_that_is_named_has_to_be_there(write: Write) -> None:
    """A path that is wrong is not taken for "no settings"; nor is a pyproject.toml without the table."""
    assert "can't read absent.toml" in mistakes(file="absent.toml")
    write("[project]\n", "pyproject.toml")
    assert mistakes(file="pyproject.toml") == "pyproject.toml has no [tool.dispatch]"
