"""``dispatch config``, and that every command obeys the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dispatcher.config.schema import json_schema

ROOT = Path(__file__).parent.parent.parent

APP = """
from bindings import on_stream

@on_stream("orders", concurrency=4)
def check(order: dict) -> None:
    print("checked", order)

def legacy(order: dict) -> None:
    print("legacy", order)
"""

CONFIG = """
app = "mine"
broker = "embedded:own.db"
[functions.check]
timeout = 5
where = "value.a > 1"
[functions.old]
function = "app:legacy"
streams = ["orders"]
target = "process"
[profiles.dev]
broker = "embedded:dev.db"
"""


def shown(done: Any) -> dict[str, tuple[Any, str, str | None]]:
    """What ``config show --json`` printed, by setting."""
    assert done.code == 0, done.stderr
    return {each["setting"]: (each["value"], each["from"], each["place"]) for each in done.json}


def test_show_tells_each_value_and_its_place(dispatch: Any) -> None:
    """From the default, the code, a line of the file, a variable and a flag; the secret is a mask."""
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", CONFIG)
    words = ("config", "show", "app", "--app", "other", "--profile", "dev")
    environ = {"DISPATCH_DRAIN": "3", "DISPATCH_KAFKA__PASSWORD": "canary", "DISPATCH_FUNCTIONS__OLD__RATE": "2"}
    found = shown(dispatch(*words, "--json", **environ))
    assert found["app"] == ("other", "flag", "--app")
    assert found["broker"] == ("embedded:dev.db", "file", "dispatch.toml:12")
    assert found["drain"] == (3.0, "environment", "DISPATCH_DRAIN")
    assert found["data"] == (".dispatch", "default", None)
    assert found["kafka.password"] == ("********", "environment", "DISPATCH_KAFKA__PASSWORD")
    assert found["functions.check.timeout"] == (5.0, "file", "dispatch.toml:5")
    assert found["functions.check.concurrency"] == (4, "code", f"{dispatch.folder / 'app.py'}:4")
    assert found["functions.check.order"] == ("key", "default", None)
    assert found["functions.old.target"] == ({"type": "process"}, "file", "dispatch.toml:10")
    assert found["functions.old.rate"] == (2.0, "environment", "DISPATCH_FUNCTIONS__OLD__RATE")
    text = dispatch(*words, **environ)
    assert "dispatch.toml:12" in text.stdout
    assert "profile dev" in text.stderr
    assert "canary" not in text.stdout + text.stderr


def test_show_works_where_there_is_nothing(dispatch: Any) -> None:
    """No file and no functions: the defaults, with the app named as its folder."""
    found = shown(dispatch("config", "show", "--json"))
    assert found["app"] == ("shop", "default", "the folder's name")
    assert {origin for _, origin, _ in found.values()} == {"default"}


def test_all_commands_obey_the_file(dispatch: Any) -> None:
    """send, streams, check, list and run use its broker and app; a filter and a function of its own hold."""
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", CONFIG)
    assert dispatch("send", "orders", "-", stdin='{"a": 1}\n{"a": 2}\n').code == 0
    assert (dispatch.folder / "own.db").exists()
    assert not (dispatch.folder / ".dispatch").exists()
    assert "orders" in dispatch("streams", "list").stdout
    listed = {each["function"]: each for each in dispatch("list", "app", "--json").json}
    assert (listed["check"]["group"], listed["check"]["where"]) == ("mine.check", "value.a > 1")
    assert (listed["old"]["target"], listed["old"]["attribute"]) == ("process", "legacy")
    assert dispatch("check", "app").code == 0
    done = dispatch("run", "app", "--until-caught-up", "--json")
    assert done.code == 0, done.stderr
    assert "checked {'a': 2}" in done.stderr
    assert "checked {'a': 1}" not in done.stderr
    assert (done.stdout + done.stderr).count("legacy {'a':") == 2


def test_a_part_of_the_app_leaves_the_rest_out(dispatch: Any) -> None:
    """A single file or function runs alone; --only chooses among all, those of the configuration too."""
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", CONFIG)
    assert [each["function"] for each in dispatch("list", "app.py", "--json").json] == ["check"]
    assert [each["function"] for each in dispatch("list", "app:check", "--json").json] == ["check"]
    found = shown(dispatch("config", "show", "--only", "old", "--json"))
    assert {key.split(".")[1] for key in found if key.startswith("functions.")} == {"old"}


def test_functions_of_the_configuration_need_no_other(dispatch: Any) -> None:
    """An app whose code has no decorator at all."""
    dispatch.write("plain.py", "def legacy(order: dict) -> None: ...\n")
    dispatch.write("dispatch.toml", '[functions.old]\nfunction = "plain:legacy"\nstreams = ["orders"]\n')
    assert [each["function"] for each in dispatch("list", "--json").json] == ["old"]
    assert dispatch("check", "--offline").code == 0


def test_check_tells_what_a_configuration_does_wrong(dispatch: Any) -> None:
    """A function that is not there, and a target that can't run it, as findings of their own; others are checked too."""
    dispatch.write(
        "app.py", APP + "\ndef make():\n    def inner(e: dict) -> None: ...\n    return inner\ninner = make()\n"
    )
    dispatch.write("dispatch.toml", "[functions.chek]\ntimeout = 1\n")
    done = dispatch("check", "app", "--offline")
    assert done.code == 1
    assert "did you mean check?" in done.stdout
    dispatch.write("dispatch.toml", '[functions.x]\nfunction = "app:inner"\nstreams = ["orders"]\ntarget = "process"\n')
    done = dispatch("check", "app", "--offline")
    assert done.code == 1
    assert "x can't run in a process of its own" in done.stdout


def test_the_file_and_the_page_are_those_of_the_code(dispatch: Any) -> None:
    """docs/schema and the tables of docs/configuration.md are made from the settings: run scripts/docs."""
    from scripts.make_config_page import PAGE, SCHEMA, page, schema

    assert SCHEMA.read_text() == schema()
    assert PAGE.read_text() == page(PAGE.read_text())
    assert dispatch("config", "schema").json == json.loads(schema())


@pytest.mark.parametrize(
    "value",
    [
        {"app": "shop", "kafka": {"password": {"file": "x"}, "token": {"call": "a:b"}}},
        {"functions": {"f": {"target": "process", "retry": {"max_age": "none"}, "streams": ["a"]}}},
        {"functions": {"f": {"target": {"type": "process", "memory": "1GB"}}}},
        {"profiles": {"prod": {"drain": 3, "kafka": {"rack": "r"}}}},
    ],
)
def test_the_schema_takes_what_is_right(value: dict[str, Any]) -> None:
    """What the reference shows is valid in an editor."""
    jsonschema.Draft7Validator.check_schema(json_schema())
    jsonschema.validate(value, json_schema(), jsonschema.Draft7Validator)


@pytest.mark.parametrize(
    "value",
    [
        {"ap": "shop"},
        {"kafka": {"password": "literal"}},
        {"functions": {"f": {"order": "keys"}}},
        {"functions": {"f": {"target": {"type": "process", "memry": "1GB"}}}},
        {"profiles": {"prod": {"profiles": {}}}},
    ],
)
def test_the_schema_refuses_what_is_wrong(value: dict[str, Any]) -> None:
    """An editor underlines a misspelt name, a secret, an unknown word."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema(), jsonschema.Draft7Validator)
