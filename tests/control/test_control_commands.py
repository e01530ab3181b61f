"""`dispatch functions`: what it says, what it refuses, and what it leaves behind; it needs no process that runs."""

from __future__ import annotations

import getpass
import json
import socket

from dispatcher.cli.functions import functions
from tests.control.conftest import App


def test_commands_are_idempotent_and_leave_a_trail(embedded_app: App) -> None:
    """The second pause and the second resume do nothing and say since when; the trail has who, when and why, once each."""
    app = embedded_app
    nothing = app("functions", "resume", "slow", "app.py", "--json")
    assert (nothing.json["changed"], nothing.json["state"]) == (False, "running")
    first = app("functions", "pause", "slow", "app.py", "--as", "anna", "--reason", "why not", "--json").json
    second = app("functions", "pause", "slow", "app.py", "--as", "bert", "--json").json
    assert (first["changed"], second["changed"]) == (True, False)
    assert first | {"changed": False} == second
    assert (first["state"], first["by"], first["why"]) == ("paused", "anna", "why not")
    assert "since" in app("functions", "pause", "slow", "app.py").stderr
    app("functions", "resume", "slow", "app.py")
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    trail = app("functions", "history", "slow", "app.py", "--json").json
    assert [(each["action"], each["by"], each["reason"]) for each in trail] == [
        ("pause", "anna", "why not"),
        ("resume", me, None),
    ]
    assert [each["at"] for each in trail] == sorted(each["at"] for each in trail)
    last = app("functions", "history", "slow", "app.py", "--limit", "1", "-o", "jsonl")
    assert [json.loads(line)["action"] for line in last.stdout.splitlines()] == ["resume"]
    assert app("functions", "history", "other", "app.py").stdout.split() == ["TIME", "ACTION", "BY", "WHY"]


def test_a_dry_run_changes_nothing(embedded_app: App) -> None:
    """--dry-run says what would be, writes nothing and makes no stream."""
    app = embedded_app
    before = app("streams", "list", "--json").json
    done = app("functions", "pause", "slow", "app.py", "--dry-run", "--json")
    assert (done.json["changed"], done.json["dry_run"], done.json["state"]) == (False, True, "paused")
    assert "--dry-run" in done.stderr
    assert app("streams", "list", "--json").json == before
    app("functions", "pause", "slow", "app.py")
    control = f"_dispatch.control.{app.name}"
    assert {each["stream"] for each in app("streams", "list", "--json").json} == {app.stream, control}
    assert app("streams", "show", control, "--json").json["config"]["cleanup.policy"] == "compact"
    app("functions", "resume", "slow", "app.py", "--dry-run")
    assert app.status("slow")["state"] == "paused"


def test_the_list_shows_each_function_and_who_paused_it(embedded_app: App) -> None:
    """`functions list` and `status` agree, in text and as JSON, and name the command that resumes."""
    app = embedded_app
    app("functions", "pause", "slow", "app.py", "--as", "anna", "--reason", "a\x1b[31m line\nmore")
    states = {each["function"]: each["state"] for each in app("functions", "list", "app.py", "--json").json}
    assert states == {"slow": "paused", "other": "running", "strict": "running"}
    text = app("functions", "list", "app.py").stdout
    [line] = [line for line in text.splitlines() if line.startswith("slow")]
    assert line.split()[1] == "paused"
    assert line.endswith("anna  a\\x1b[31m line\\nmore")
    status = app("status", "app.py", "--summary")
    assert "slow is paused since" in status.stderr
    assert "dispatch functions resume slow app.py" in status.stderr
    assert "\x1b" not in status.stderr.replace("\x1b[33m", "").replace("\x1b[0m", "")


def test_what_cannot_be_done_is_refused(embedded_app: App) -> None:
    """A function that is not there is named with the nearest, a name on two lines is none, and with control = "off" no
    command pretends that somebody listens."""
    app = embedded_app
    for words in (("pause", "slo"), ("resume", "slo"), ("history", "slo")):
        assert "did you mean slow" in app("functions", *words, "app.py", code=2).stderr
    assert "one line" in app("functions", "pause", "slow", "app.py", "--as", "a\nb", code=2).stderr
    app.dispatch.environ["DISPATCH_CONTROL"] = "off"
    for words in (("pause", "slow"), ("resume", "slow"), ("history", "slow"), ("list",)):
        assert 'control = "off"' in app("functions", *words, "app.py", code=1).stderr
    assert app.status("slow")["control"] is None


def test_where_no_topics_are_made_the_command_says_how(embedded_app: App) -> None:
    """With create_topics off a missing control stream is an error with the command that makes it, and that command is enough."""
    app = embedded_app
    failed = app("functions", "pause", "slow", "app.py", code=1, DISPATCH_CREATE_TOPICS="false")
    [line] = [
        line.strip() for line in failed.stderr.splitlines() if "streams create" in line and "cleanup.policy" in line
    ]
    app(*line.removeprefix("try: dispatch ").split())
    app("functions", "pause", "slow", "app.py", DISPATCH_CREATE_TOPICS="false")
    assert app.status("slow")["state"] == "paused"


def test_with_control_off_a_process_does_not_look(embedded_app: App) -> None:
    """With control = "off" a process delivers what a command had paused: the setting is for whoever may not, or will not, be told."""
    app = embedded_app
    app("functions", "pause", "other", "app.py")
    app.send(3)
    app.dispatch.environ["DISPATCH_CONTROL"] = "off"
    app("run", "app.py", "--only", "other", "--until-caught-up")
    assert len(app.journal("other")) == 3


def test_a_run_until_caught_up_of_a_paused_function_fails(embedded_app: App) -> None:
    """It can't catch up and does not wait for ever: exit code 1, with the command that resumes, and nothing delivered."""
    app = embedded_app
    app.send(3)
    app("functions", "pause", "other", "app.py")
    failed = app("run", "app.py", "--only", "other", "--until-caught-up", code=1)
    assert "dispatch functions resume other" in failed.stderr
    assert app.journal("other") == {}


def test_every_command_is_in_the_group() -> None:
    """The group has the commands that this page of tests is about."""
    assert set(functions.commands) == {"list", "pause", "resume", "history"}
