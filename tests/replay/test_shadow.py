"""A new version over history, compared with what the old one made of it, on a real embedded log."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from test_replay_commands import live_commits

from dispatcher.jsondiff import ABSENT, changes

APP = """
import pathlib
from bindings import Event, Reject, Retry, on_stream

@on_stream("orders", emits="results", retry=Retry(max_attempts=3, initial=0.01), where="value.id != 7")
async def handle(order: Event[dict]) -> dict | None:
    if order.value["id"] == 13:
        raise Reject("thirteen")
    if order.value["id"] % 2:
        return None
    return {"id": order.value["id"], "total": order.value["id"] * 2, "by": "old"}

@on_stream("orders", emits="sums")
async def add(orders: list[dict]) -> list[dict]:
    return [{"sum": sum(order["id"] for order in orders)}]

@on_stream("orders")
async def quiet(order: dict) -> None: ...
"""
NEW = """
import asyncio
from bindings import Context, Event, Retry, on_stream

tried = set()

@on_stream("orders", emits="results", retry=Retry(max_attempts=3, initial=0.01), where="value.id != 7")
async def handle(order: Event[dict], context: Context) -> dict | None:
    number = order.value["id"]
    print("a payload on stdout", number)
    if number == 4:
        raise ValueError("four")
    if number == 6 and context.attempt < 3:
        raise OSError("not yet")
    await asyncio.sleep(0)
    if number % 2:
        return None
    return {"id": number, "total": number * 2 + (number == 8), "by": "new"}

@on_stream("orders", emits="sums")
async def add(orders: list[dict]) -> list[dict]:
    return [{"sum": sum(order["id"] for order in orders if order["id"] != 3)}]

@on_stream("orders")
async def quiet(order: dict) -> None:
    if order["id"] == 5:
        raise RuntimeError("five")
"""


def shop(dispatch: Any, *, partitions: int = 2) -> None:
    """Twenty orders that the old version has handled, one of them to the dead letters."""
    dispatch.write("app.py", APP)
    dispatch.write("new.py", NEW)
    lines = "".join(json.dumps({"id": number, "who": f"h{number % 3}"}) + "\n" for number in range(20))
    sent = dispatch("send", "orders", "-", "--key", "who", "--partitions", str(partitions), stdin=lines)
    assert sent.code == 0, sent.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 1


def shadow(dispatch: Any, function: str, *words: str, new: str = "new.py") -> Any:
    """Compare a new version over all there is."""
    return dispatch(
        "replay", function, "app.py", "--from", "earliest", "--shadow", f"{new}:{function}", "--yes", *words
    )  # fmt: skip


def everything(dispatch: Any) -> Any:
    """All that the broker holds, of whatever table, as it lies in the file."""
    with sqlite3.connect(dispatch.folder / ".dispatch" / "log.db") as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in names}  # noqa: S608 - its own


async def test_it_is_compared_with_what_was_emitted_and_touches_nothing(dispatch: Any) -> None:
    """Each difference is found and no other: other results, one that fails now, one that failed then; retries are made, and the log stays as it was."""
    shop(dispatch)
    before, commits = everything(dispatch), await live_commits(dispatch)
    done = shadow(dispatch, "handle", "--json", "--ignore", "by")
    assert done.code == 1, done.stderr
    assert everything(dispatch) == before
    assert await live_commits(dispatch) == commits
    found = done.json
    assert (found["events"], found["same"], found["against"]) == (20, 17, "emitted")
    assert found["different"] == {"changed": 1, "broken": 1, "mended": 1, "other": 0}
    by_kind = {each["kind"]: each for each in found["differences"]}
    assert by_kind["changed"]["changes"] == [{"path": "results[0].value.total", "old": 16, "new": 17}]
    assert by_kind["broken"]["changes"][0] == {"path": "outcome", "old": "done", "new": "failed: ValueError"}
    assert by_kind["broken"]["why"] == "ValueError: four"
    assert by_kind["mended"]["changes"] == [{"path": "outcome", "old": "failed: Reject", "new": "done"}]
    event = by_kind["changed"]["event"]
    tailed = dispatch("streams", "tail", "orders", "--json").stdout.splitlines()
    [eight] = [each for each in map(json.loads, tailed) if each["value"]["id"] == 8]
    assert event == f"orders/{eight['partition']}@{eight['offset']}"
    assert "a payload" not in done.stdout


def test_it_is_compared_with_the_old_function_run_beside_it(dispatch: Any) -> None:
    """--against FN needs nothing that was emitted: batches, and functions that emit nothing, are compared too."""
    shop(dispatch)
    one = shadow(dispatch, "handle", "--json", "--against", "handle", "--ignore", "by")
    assert one.json["different"] == {"changed": 1, "broken": 1, "mended": 1, "other": 0}, one.stderr
    batch = shadow(dispatch, "add", "--json")
    assert (batch.code, batch.json["against"], batch.json["events"]) == (1, "add", 20), batch.stderr
    [changed] = batch.json["differences"]
    [change] = changed["changes"]
    assert (change["path"], change["old"] - change["new"]) == ("results[0].value.sum", 3)
    quiet = shadow(dispatch, "quiet", "--json")
    assert "only whether they fail" in quiet.stderr
    assert quiet.json["different"] == {"changed": 0, "broken": 1, "mended": 0, "other": 0}
    assert shadow(dispatch, "add", "--against", "emitted").code == 2
    assert shadow(dispatch, "quiet", "--against", "emitted").code == 2


def test_the_same_version_makes_the_same(dispatch: Any) -> None:
    """The control: a copy of the old code has no difference, and the exit code is 0."""
    shop(dispatch)
    dispatch.write("twin.py", APP)
    for words in ((), ("--against", "handle")):
        done = shadow(dispatch, "handle", "--json", *words, new="twin.py")
        assert (done.code, done.json["same"], done.json["differences"]) == (0, 20, []), done.stderr


def test_what_a_person_sees(dispatch: Any) -> None:
    """Counts, the first differences with coordinates, and how many more there are; it asks first, and --dry-run runs nothing."""
    shop(dispatch, partitions=1)
    done = shadow(dispatch, "handle", "--differences", "2")
    assert done.code == 1
    assert '~ results[0].value.by: "old" -> "new"' in done.stdout
    assert "orders/0@0  key=h0  other results" in done.stdout
    assert "more: --differences N" in done.stderr
    asked = dispatch("replay", "handle", "app.py", "--from", "earliest", "--shadow", "new.py:handle")
    assert (asked.code, asked.stdout) == (2, "")
    dry = shadow(dispatch, "handle", "--dry-run")
    assert (dry.code, dry.stdout, "20 events" in dry.stderr) == (0, "", True)
    part = shadow(dispatch, "handle", "--json", "--to", "@4")
    assert part.json["events"] == 4


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "earliest", "--shadow", "app.py:handle"),
        ("--from", "earliest", "--shadow", "new.py:handle", "--reset"),
        ("--from", "earliest", "--shadow", "new.py:handle", "--no-emit"),
        ("--shadow", "new.py:handle"),
        ("--from", "earliest", "--against", "handle"),
        ("--from", "earliest", "--shadow", "new.py:handle", "--against", "handel"),
    ],
)
def test_what_makes_no_sense_is_refused(dispatch: Any, words: tuple[str, ...]) -> None:
    """A function against itself, options that don't go together, and names that are not there exit 2 and run nothing."""
    dispatch.write("app.py", APP)
    dispatch.write("new.py", NEW)
    dispatch("send", "orders", "-", stdin='{"id": 1}\n')
    done = dispatch("replay", "handle", "app.py", *words, "--yes")
    assert (done.code, "a payload" in done.stderr) == (2, False), done.stderr


@pytest.mark.parametrize(
    ("old", "new", "ignore", "found"),
    [
        ({"a": 1}, {"a": 1.0}, (), []),
        ({"a": True}, {"a": 1}, (), [("a", True, 1)]),
        ({"a": None}, {}, (), [("a", None, ABSENT)]),
        ([1, 2], [1], (), [("[1]", 2, ABSENT)]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}, 3]}, (), [("a[0].b", 1, 2), ("a[1]", ABSENT, 3)]),
        ({"a": [{"b": 1, "c": 1}]}, {"a": [{"b": 2, "c": 2}]}, ("a.b",), [("a[0].c", 1, 2)]),
        ({"a": {"x": 1}}, {"a": [1]}, (), [("a", {"x": 1}, [1])]),
        (1, 2, (), [("", 1, 2)]),
    ],
)
def test_changes_are_named_by_their_paths(old: Any, new: Any, ignore: Any, found: Any) -> None:
    """What is added, what is gone and what is another value; numbers by value, true is not 1."""
    assert [tuple(change) for change in changes(old, new, ignore=ignore)] == found


def test_values_as_deep_as_can_be_are_compared() -> None:
    """Nesting has no end in JSON, and a comparison has: deeper parts are compared whole."""
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    other: Any = 2
    for _ in range(500):
        other = [other]
    assert len(changes(deep, other)) == 1
    assert changes(deep, deep) == []
