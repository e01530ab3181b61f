"""``-o text|json|jsonl``: one meaning in every command that lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

APP = """
from bindings import on_stream

@on_stream("orders")
async def one(order: dict) -> None: ...

@on_stream("orders")
async def two(order: dict) -> None: ...
"""

COMMANDS = [
    ("list",),
    ("check",),
    ("status",),
    ("streams", "list"),
    ("groups", "reset", "one", "--to", "@1", "--dry-run"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_forms_hold_the_same(dispatch: Any, words: tuple[str, ...]) -> None:
    """Json is an array and --json its alias, jsonl its objects a line each, and --json contradicts -o jsonl."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", "--partitions", "2", stdin='{"id": 1}\n' * 8)
    array = dispatch(*words, "-o", "json")
    assert array.code in (0, 1), array.stderr
    assert isinstance(array.json, list)
    lines = dispatch(*words, "-o", "jsonl").stdout.splitlines()

    def stable(objects: list[dict[str, Any]]) -> list[set[str]]:
        return [set(each) for each in objects]

    assert stable([json.loads(line) for line in lines]) == stable(array.json) == stable(dispatch(*words, "--json").json)
    refused = dispatch(*words, "--json", "-o", "jsonl")
    assert (refused.code, refused.stdout) == (2, "")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_colour_where_none_is_wanted(dispatch: Any, words: tuple[str, ...]) -> None:
    """With NO_COLOR, or where nobody looks, there is no escape sequence in what is printed."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", "--partitions", "2", stdin='{"id": 1}\n')
    for environ in ({}, {"NO_COLOR": "1"}):
        done = dispatch(*words, **environ)
        assert "\x1b" not in done.stdout + done.stderr
