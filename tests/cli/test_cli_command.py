"""The command as a whole: quick to answer, plain in its errors."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dispatcher.cli import COMMANDS, cli


def modules_after(dispatch: Any, *words: str) -> set[str]:
    """Which modules a command has imported by its end."""
    program = (
        "import sys, dispatcher.cli\n"
        f"sys.argv = ['dispatch', *{list(words)!r}]\n"
        "try: dispatcher.cli.main()\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=dispatch.folder,
        env=dispatch.environ,
        capture_output=True,
        check=False,
        text=True,
    )
    return set(done.stderr.split())


def test_help_imports_nothing_that_takes_time(dispatch: Any) -> None:
    """The help needs neither the event loop nor pydantic nor a broker nor any command, so it is there at once."""
    modules = modules_after(dispatch, "--help")
    assert {"dispatcher.cli", "click"} < modules
    assert not modules & {
        "asyncio",
        "pydantic",
        "bindings",
        "aiokafka",
        "sqlite3",
        "cel_expr_python",
        "rich",
        "structlog",
    }
    assert not {module for module in modules if module.startswith("dispatcher.cli.")} - {
        "dispatcher.cli.lazily",
        "dispatcher.cli.help",
    }


@pytest.mark.parametrize("words", [("--help",), ("dlq", "-h"), ("send", "-h")])
def test_the_help_has_colours_on_a_terminal_alone_and_cuts_nothing_short(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headings and names are coloured where a person reads them, and neither in a file nor where NO_COLOR asks for none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured = CliRunner().invoke(cli, words, color=True).output
    plain = CliRunner().invoke(cli, words).output
    assert "\x1b[1mOptions:\x1b[0m" in coloured
    assert click.unstyle(coloured) == plain
    assert not re.search(r"\w\.\.\.$", plain, re.MULTILINE)
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(cli, words, color=True).output == plain


def test_a_command_imports_its_own_module_and_not_its_neighbours(dispatch: Any) -> None:
    """What a command costs to start does not grow with the number of commands."""
    modules = modules_after(dispatch, "run", "--help")
    assert "dispatcher.cli.run" in modules
    assert not modules & {
        "dispatcher.cli.dlq",
        "dispatcher.cli.streams",
        "dispatcher.cli.replay",
        "asyncio",
        "pydantic",
    }


def test_a_short_command_does_not_wait_for_structlog(dispatch: Any) -> None:
    """What only renders the log of a run, a tenth of a second to import, is not imported where there are warnings at most."""
    modules = modules_after(dispatch, "streams", "create", "orders")
    assert "dispatcher.telemetry.logs" in modules
    assert "structlog" not in modules


def test_the_help_says_of_each_command_what_the_command_says_of_itself() -> None:
    """The table from which the help is made names the right command, and says the first paragraph of its help."""
    cli.import_all()
    assert cli.commands.keys() == COMMANDS.keys()
    for name, (_place, text) in COMMANDS.items():
        command = cli.commands[name]
        assert (command.name, not command.hidden) == (name, True)
        assert " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split()) == text


def test_list_imports_no_broker(dispatch: Any) -> None:
    """Looking at the functions loads no client library."""
    dispatch.write("app.py", FUNCTION)
    modules = modules_after(dispatch, "list", "app.py")
    assert "bindings.discovery" in modules
    assert not modules & {"aiokafka", "sqlite3", "cel_expr_python"}


FUNCTION = """
from bindings import on_stream

@on_stream("orders", emits="results")
async def check_limit(order: dict) -> dict:
    return order
"""


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("run", "--nonsense"),
        ("send",),
        ("send", "a b", "-"),
        ("send", "orders", "no-such-file.jsonl"),
        ("send", "orders", "-", "--header", "novalue"),
        ("send", "orders", "-", "--raw", "--key", "id"),
        ("send", "orders", "-", "--rate", "0"),
        ("streams", "tail", "orders", "--from", "yesterday"),
        ("streams", "tail", "orders", "--from", "@x"),
        ("streams", "create", "orders", "--partitions", "0"),
        ("streams", "create", "orders", "--config", "retention"),
        ("run", "app.py", "--only", "nobody"),
        ("list", "app.py", "--app", "a b"),
    ],
)
def test_a_command_that_is_not_understood_exits_2(dispatch: Any, words: tuple[str, ...]) -> None:
    """Usage errors are told apart from failures, on stderr, without a traceback, and make no log."""
    dispatch.write("app.py", FUNCTION)
    done = dispatch(*words)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not (dispatch.folder / ".dispatch").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nowhere/"), "nowhere"),
        (("run", "broken.py"), "broken.py:1"),
        (("run", "app.py"), "dispatch send orders FILE"),
        (("run", "app.py", "--broker", "redis://x"), "kafka://host:9092"),
        (("run", "app.py", "--broker", "kafka://127.0.0.1:1"), "127.0.0.1:1"),
        (("streams", "list"), "dispatch send STREAM FILE"),
        (("streams", "show", "orders", "--broker", "embedded:app.py"), "app.py"),
    ],
)
def test_a_foreseen_failure_is_one_message_that_says_what_to_do(
    dispatch: Any, words: tuple[str, ...], message: str
) -> None:
    """What a person can mend is a message and exit code 1, not a traceback."""
    dispatch.write("app.py", FUNCTION)
    dispatch.write("broken.py", "import no_such_module_anywhere")
    done = dispatch(*words)
    assert done.code == 1, done
    assert message in done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_list_shows_each_binding(dispatch: Any) -> None:
    """Function, stream, group, order, target and output stream are there, for people and as a JSON array."""
    dispatch.write("app.py", FUNCTION)
    table = dispatch("list")
    assert table.code == 0
    for word in (
        "check_limit",
        "orders",
        "shop.check_limit",
        "key",
        "5 attempts, then dead letter",
        "local",
        "results",
    ):
        assert word in table.stdout
    [binding] = dispatch("list", "app.py:check_limit", "--json", "--app", "billing").json
    assert (binding["function"], binding["group"]) == ("check_limit", "billing.check_limit")
    assert binding["retry"]["max_attempts"] == 5
    assert binding["dead_letters"] == ["orders.check_limit.dead"]


def test_a_folder_and_its_file_and_its_module_are_one_app(dispatch: Any) -> None:
    """However the function is named, its consumer group stays the same, so no event is delivered to a second one."""
    (dispatch.folder / "alerts").mkdir()
    dispatch.write("alerts/limits.py", FUNCTION)
    targets = ("alerts", "alerts/", "alerts/limits.py", "alerts.limits", "alerts/limits.py:check_limit")
    groups = [dispatch("list", target, "--json").json[0]["group"] for target in targets]
    assert groups == ["alerts.check_limit"] * len(targets)
