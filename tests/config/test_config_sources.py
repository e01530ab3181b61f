"""Where settings are read from, which one wins, and that each remembers its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.config.configuration import load
from dispatcher.config.toml import lines_of
from dispatcher.errors import ConfigurationError

Write = Callable[..., Path]


def test_without_a_word_the_defaults_hold() -> None:
    """No file and no variable: the embedded broker, and every value is a default."""
    configuration = load()
    assert configuration.settings.broker == "embedded:.dispatch/log.db"
    assert str(configuration.origin("broker")) == "default"
    assert configuration.kafka.client_id == "dispatch"


def test_each_source_wins_over_the_one_before(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, file, profile, environment, flag: each is seen to win, and says where it stands."""
    write("drain = 1\ncommit_interval = 1\nmax_poll_records = 1\nbroker = 'kafka://file'\n"
          "[profiles.prod]\ncommit_interval = 2\nmax_poll_records = 2\nbroker = 'kafka://profile'\n")  # fmt: skip
    monkeypatch.setenv("DISPATCH_MAX_POLL_RECORDS", "3")
    monkeypatch.setenv("DISPATCH_BROKER", "kafka://environment")
    configuration = load(profile="prod").with_flags({"broker": "kafka://flag"})
    settings = configuration.settings
    assert settings.on_corrupt == "stop"
    assert (settings.drain, str(configuration.origin("drain"))) == (1, "dispatch.toml:1")
    assert (settings.commit_interval, str(configuration.origin("commit_interval"))) == (2, "dispatch.toml:6")
    assert settings.max_poll_records == 3
    assert str(configuration.origin("max_poll_records")) == "environment DISPATCH_MAX_POLL_RECORDS"
    assert (settings.broker, str(configuration.origin("broker"))) == ("kafka://flag", "flag --broker")


def test_a_variable_chooses_file_and_profile(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """DISPATCH_CONFIG and DISPATCH_PROFILE stand for the flags."""
    write("[profiles.a]\ndrain = 7\n", "other.toml")
    monkeypatch.setenv("DISPATCH_CONFIG", "other.toml")
    monkeypatch.setenv("DISPATCH_PROFILE", "a")
    assert load().settings.drain == 7


def test_a_table_in_pyproject_is_read(write: Write) -> None:
    """With the line in that file, beside the tables of others."""
    write('[project]\nname = "shop"\n[tool.ruff]\nx = 1\n[tool.dispatch.kafka]\nrack = "r"\n', "pyproject.toml")
    configuration = load()
    assert configuration.kafka.rack == "r"
    assert str(configuration.origin("kafka", "rack")) == "pyproject.toml:6"


def test_somebody_elses_pyproject_is_passed_over(write: Write) -> None:
    """Without the table, and even when it is broken, it is none of our business."""
    write("[tool.poetry]\nname = dispatch", "pyproject.toml")
    assert load().file is None


def test_the_file_is_found_above_within_the_repository(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder below, as far up as .git; paths in it are relative to it. Past .git nothing is looked for."""
    write('drain = 3\nbroker = "embedded:log.db"\n[kafka]\nca_file = "ca.pem"\npassword = {file = "p"}\n')
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load().file is None
    (folder / ".git").mkdir()
    configuration = load()
    assert configuration.settings.drain == 3
    assert configuration.settings.broker == f"embedded:{folder / 'log.db'}"
    assert configuration.kafka.ca_file == folder / "ca.pem"
    assert configuration.kafka.password.file == folder / "p"  # type: ignore[union-attr]
    (folder / "a" / ".git").mkdir()
    assert load().file is None


def test_two_files_in_one_folder_are_an_error(write: Write) -> None:
    """Neither is passed over in silence."""
    write("drain = 1\n")
    write("[tool.dispatch]\ndrain = 2\n", "pyproject.toml")
    with pytest.raises(ConfigurationError, match=r"both hold settings: keep one"):
        load()


def test_a_variable_goes_into_tables(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """By two underscores, or as JSON; it changes one value of a table and leaves the others."""
    write('[functions.legacy-check]\ntimeout = 5\nretry = {max_attempts = 2, initial = 3}\n[kafka]\nrack = "a"\n')
    monkeypatch.setenv("DISPATCH_FUNCTIONS__LEGACY_CHECK__RETRY__INITIAL", "9")
    monkeypatch.setenv("DISPATCH_FUNCTIONS__OTHER__STREAMS", '["a", "b"]')
    monkeypatch.setenv("DISPATCH_KAFKA__USERNAME", "me")
    configuration = load()
    changed = configuration.functions["legacy-check"]
    assert (changed.timeout, changed.retry.max_attempts, changed.retry.initial) == (5, 2, 9)
    assert configuration.functions["other"].streams == ("a", "b")
    assert (configuration.kafka.rack, configuration.kafka.username) == ("a", "me")
    place = str(configuration.origin("functions", "legacy-check", "retry", "initial"))
    assert place == "environment DISPATCH_FUNCTIONS__LEGACY_CHECK__RETRY__INITIAL"
    assert str(configuration.origin("functions", "legacy-check", "retry", "max_attempts")) == "dispatch.toml:3"


def test_a_target_is_replaced_whole(write: Write) -> None:
    """The memory of one kind of target is not mixed into another kind."""
    write('[functions.f]\ntarget = {type = "process", memory = "1GiB"}\n[profiles.p.functions.f]\ntarget = "local"\n')
    assert load().functions["f"].target.memory == 1 << 30
    assert load(profile="p").functions["f"].target.model_dump() == {"type": "local"}


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers set them that have nothing to say."""
    monkeypatch.setenv("DISPATCH_KAFKA__RACK", "")
    monkeypatch.setenv("DISPATCH_DRAIN", "")
    assert load().kafka.rack is None


def test_what_kubernetes_sets_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service named dispatch puts these into every container of its namespace."""
    for name in (
        "DISPATCH_SERVICE_HOST",
        "DISPATCH_PORT",
        "DISPATCH_PORT_80_TCP_ADDR",
        "DISPATCH_UI_SERVICE_PORT_HTTP",
    ):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert load().settings.drain == 25


def test_reading_nothing_imports_nothing_that_takes_time(folder: Path) -> None:
    """A command without configuration does not pay for the parser of one."""
    import subprocess

    program = "import sys; from dispatcher.config.configuration import load; load(); print(*sys.modules)"
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, env={"PYTHONPATH": str(root)}
    )
    assert not {"pydantic", "pydantic_settings"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("text", "keys", "line"),
    [
        ("a = 1\n\n# b = 2\nb = 3\n", ("b",), 4),
        ('[a."x.y"]\nb.c = 1\n', ("a", "x.y", "b", "c"), 2),
        ("[a]\nb = [\n 1,\n]\nc = 1", ("a", "c"), 5),
        ('[a]\nb = """\n[z]\nc = 1\n"""\nd = 1', ("a", "d"), 6),
        ("[a]\nb = {c = {d = 1}}", ("a", "b", "c", "d"), 2),
        ("[[a]]\nb = 1\n[[a]]\nc = 1", ("a", "c"), 4),
        ("[a]\r\nb = 1\r\n", ("a", "b"), 2),
    ],
)
def test_a_keys_line_is_found(text: str, keys: tuple[str, ...], line: int) -> None:
    """However TOML lets it be written: comments, dotted keys, long arrays and strings, inline tables."""
    assert lines_of(text)[keys] == line


@given(
    st.lists(st.sampled_from(["x{} = 1", "x{} = '''\n[t]\n'''", "x{} = [\n1,\n\n]", "# x = 1", "", "x{} = {{a = 1}}"]))
)
def test_lines_are_those_of_the_text(statements: list[str]) -> None:
    """Whatever stands before it, a key's line is the one on which its statement begins."""
    text, expected = "", {}
    for number, statement in enumerate(statements):
        if "{}" in statement:
            expected[f"x{number}",] = text.count("\n") + 1
        text += statement.format(number) + "\n"
    found = lines_of(text)
    assert {keys: line for keys, line in found.items() if len(keys) == 1} == expected
