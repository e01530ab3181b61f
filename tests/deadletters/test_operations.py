"""Redrives as operations, and edits of single letters, on a real embedded log."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_dlq_commands import APP, handled, retry_copies, shop

from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.deadletters.journal import Journal
from dispatcher.deadletters.redrive import WINDOW


def many(dispatch: Any, count: int) -> None:
    """So many dead letters of ``handle``, every other one rejected."""
    dispatch.write("app.py", APP)
    lines = "".join(json.dumps({"id": 5 * number, "who": f"h{number % 30}"}) + "\n" for number in range(count))
    dispatch("send", "orders", "-", "--key", "who", "--partitions", "3", stdin=lines)
    assert dispatch("run", "app.py", "--until-caught-up").code == 1


def operation(dispatch: Any) -> Any:
    """The latest one."""
    return dispatch("dlq", "operations", "--app", "shop", "--json").json[0]


async def until_sent(dispatch: Any, count: int, running: Any) -> None:
    """Wait until so many letters are on their way."""
    deadline = time.monotonic() + 30
    while len(await retry_copies(dispatch)) < count:
        assert time.monotonic() < deadline, running.stderr


async def test_a_killed_redrive_is_resumed_as_it_was_begun(dispatch: Any) -> None:
    """Kill -9 in the midst: --resume sends the rest of what it had begun with, under its filter and cap, not what died since."""
    many(dispatch, 800)
    words = ("dlq", "redrive", "handle", "app.py", "--error", "ValueError", "--max", "300", "--rate", "200", "--yes")
    redrive = dispatch.start(*words)
    await until_sent(dispatch, 100, redrive)
    redrive.interrupt(signal.SIGKILL)
    redrive.end()
    sent = len(await retry_copies(dispatch))
    dead = operation(dispatch)
    assert (dead["what"], dead["going"], dead["filter"]["errors"]) == ("redrive", 300, ["ValueError"])
    deadline = time.monotonic() + 30
    while operation(dispatch)["state"] != "interrupted":  # until the broker has put the dead member out
        assert time.monotonic() < deadline
    # Those that come back, and new ones, are dead again by now.
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    resumed = dispatch("dlq", "redrive", "--resume", dead["id"][:13], "--app", "shop", "--yes", "--json")
    assert resumed.code == 0, resumed.stderr
    copies = Counter(await retry_copies(dispatch))
    assert 300 - WINDOW <= len(copies) <= 300
    assert sum(copies.values()) <= 300 + WINDOW
    assert sent + resumed.json["redriven"] == sum(copies.values())
    done = operation(dispatch)
    assert (done["state"], done["failed"], done["id"]) == ("done", {}, dead["id"])
    # Also those that were sent after its last word, and before the kill.
    assert (done["cleared"], done["going"]) == (300, 300)
    again = dispatch("dlq", "redrive", "--resume", dead["id"], "--app", "shop", "--yes", "--json")
    assert again.json["redriven"] == 0
    letters = dispatch("dlq", "list", "handle", "app.py", "--json").json
    assert {each["redrives"] for each in letters if each["error_type"] == "Reject"} == {0}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_aborted_redrive_says_how_it_goes_on(dispatch: Any, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM end it with what was sent written down; the command that it names sends each of the others once."""
    many(dispatch, 200)
    redrive = dispatch.start("dlq", "redrive", "handle", "app.py", "--rate", "50", "--yes")
    await until_sent(dispatch, 30, redrive)
    redrive.interrupt(number)
    done = redrive.end()
    assert (done.code, "Traceback" in done.stderr) == (code, False), done.stderr
    aborted = operation(dispatch)
    assert (aborted["state"], aborted["cleared"]) == ("aborted", len(await retry_copies(dispatch)))
    [line] = [line for line in done.stderr.splitlines() if "--resume" in line]
    resumed = dispatch(*line.split("dispatch ")[1].split(), "--rate", "10000", "--yes", "--json")
    assert resumed.json["redriven"] == 200 - aborted["cleared"], resumed.stderr
    copies = Counter(await retry_copies(dispatch))
    assert (len(copies), set(copies.values())) == (200, {1})
    assert operation(dispatch)["cleared"] == 200


def test_operations_are_listed_with_what_failed(dispatch: Any) -> None:
    """Who did what, when, how many; a wrong id and options that don't go with --resume are refused."""
    shop(dispatch)
    none = dispatch("dlq", "operations", "--app", "shop")
    assert (none.code, "no redrives" in none.stderr) == (0, True)
    assert dispatch("dlq", "redrive", "handle", "app.py", "--reason", "rejected", "--yes").code == 0
    assert dispatch("dlq", "drop", "handle", "app.py", "--key", "h1", "--yes").code == 0
    listed = dispatch("dlq", "operations", "--app", "shop", "-o", "jsonl")
    drop, redrive = (json.loads(line) for line in listed.stdout.splitlines())
    assert (drop["what"], drop["state"], drop["cleared"], drop["going"]) == ("drop", "done", 1, 1)
    assert (redrive["what"], redrive["cleared"], redrive["filter"]["reasons"]) == ("redrive", 4, ["rejected"])
    assert "@" in redrive["by"]
    shown = dispatch("dlq", "operations", redrive["id"], "--app", "shop")
    assert "reasons=['rejected']" in shown.stdout
    table = dispatch("dlq", "operations", "--app", "shop")
    assert len(table.stdout.splitlines()) == 3
    for words in (("nothing",), (drop["id"],), (redrive["id"], "--max", "3"), (redrive["id"], "--reason", "rejected")):
        assert dispatch("dlq", "redrive", "--resume", words[0], "--app", "shop", "--yes", *words[1:]).code == 2
    assert dispatch("dlq", "redrive", "--yes").code == 2


async def test_what_could_not_be_sent_is_named(dispatch: Any) -> None:
    """A cut letter whose event is gone from its stream stays, is listed with why in the summary and in the operation, and is exit 1."""
    shop(dispatch)
    facts = {
        "stream": "orders",
        "partition": 0,
        "offset": 900,
        "function": "handle",
        "reason": "rejected",
        "truncated": 9,
    }
    headers = tuple((f"dispatch-dead-{name}", str(fact).encode()) for name, fact in facts.items())
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        producer = await broker.producer()
        await producer.send(Outgoing(topic="orders.handle.dead", key=b"k", value=b"{", headers=headers, partition=0))
        await producer.close()
    done = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json")
    assert (done.code, done.json["redriven"], done.json["refused"]) == (1, 8, 1), done.stderr
    [failed] = done.json["failed"]
    assert "orders/0@900" in failed["why"]
    assert operation(dispatch)["failed"] == {failed["letter"]: failed["why"]}
    shown = dispatch("dlq", "operations", done.json["operation"], "--app", "shop")
    assert failed["letter"] in shown.stdout
    [left] = dispatch("dlq", "list", "handle", "app.py", "--json").json
    assert left["letter"] == failed["letter"]


async def test_what_others_write_into_the_journal_is_left_out(dispatch: Any) -> None:
    """Whoever may write there may write anything: what is no document of ours is in nobody's way."""
    shop(dispatch)
    assert dispatch("dlq", "redrive", "handle", "app.py", "--max", "1", "--yes").code == 0
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        topic = Journal(broker, "shop").topic
        producer = await broker.producer()
        good = (await broker.read({TopicPartition(topic, 0): 0}))[TopicPartition(topic, 0)][0]
        for key, value in [
            (b"operation:x", b"not JSON"),
            (b"operation:y", b'{"version": 1}'),
            (b"operation:z", (good.value or b"").replace(b'"redrive"', b'"delete"')),
            (b"error:abc", b'{"version": 1, "said": "resolved", "at_ms": "now"}'),
            (b"\xff\xfe", b"[" * 5_000),
            (None, None),
        ]:
            await producer.send(Outgoing(topic=topic, key=key, value=value, partition=0))
        await producer.close()
    assert len(dispatch("dlq", "operations", "--app", "shop", "--json").json) == 1
    assert dispatch("errors", "list", "app.py", "--json").code == 0


def edited(dispatch: Any, place: str, *words: str, stdin: str = "", **environ: str) -> Any:
    """Type the command about one letter."""
    return dispatch("dlq", "edit", "handle", place, "app.py", *words, stdin=stdin, **environ)


def test_one_letter_is_edited_and_sent_back(dispatch: Any) -> None:
    """It comes with the new value and its own coordinates, names the letter that holds the old one, and that one stays as it was."""
    shop(dispatch, 20, partitions=1)
    letters = dispatch("dlq", "list", "handle", "app.py", "--json").json
    letter = next(each for each in letters if each["event"]["value"]["id"] == 15)
    place = letter["letter"].partition("/")[2]
    (dispatch.folder / "handled").unlink()
    done = edited(dispatch, place, "--value", "-", "--yes", "--json", stdin='{"id": 16, "who": "h0"}\n')
    assert (done.code, done.json["redriven"]) == (0, 1), done.stderr
    assert "~ id: 15 -> 16" in done.stderr
    [tail] = dispatch("streams", "tail", "orders.handle.retry", "--json").stdout.splitlines()
    headers = {each["name"]: each["value"] for each in json.loads(tail)["headers"]}
    assert headers["dispatch-edited-from"] == letter["letter"]
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert [(id_, number) for id_, number, _ in handled(dispatch)] == [("orders/0/15", 16)]
    kept = dispatch("dlq", "show", "handle", place, "app.py", "--json").json
    assert (kept["resolved"], kept["event"]) == (True, letter["event"])
    assert operation(dispatch)["what"] == "edit"
    again = edited(dispatch, place, "--value", "-", "--yes", stdin="{}")
    assert (again.code, "already" in again.stderr) == (1, True)
    assert len(dispatch("dlq", "list", "handle", "app.py", "--json").json) == 3


def test_the_editor_opens_with_the_value(dispatch: Any) -> None:
    """$EDITOR gets it as readable JSON; left as it was, or refused by the function, nothing is sent."""
    shop(dispatch, 10, partitions=1)
    script = dispatch.write("editor.sh", '#!/bin/sh\nsed -i \'s/"id": 5/"id": 6/\' "$1"\n')
    script.chmod(0o755)
    letters = dispatch("dlq", "list", "handle", "app.py", "--json").json
    places = {each["event"]["value"]["id"]: each["letter"].partition("/")[2] for each in letters}
    same = edited(dispatch, places[0], "--yes", EDITOR=str(script))
    assert (same.code, "nothing was changed" in same.stderr) == (0, True)
    bad = edited(dispatch, places[5], "--yes", "--value", "-", stdin="[1, 2")
    assert (bad.code, "can't take" in bad.stderr) == (1, True), bad.stderr
    done = edited(dispatch, places[5], "--yes", "--json", EDITOR=str(script))
    assert (done.code, done.json["redriven"]) == (0, 1), done.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert ("orders/0/5", 6) in [(id_, number) for id_, number, _ in handled(dispatch)]
    assert edited(dispatch, places[0], "--yes").code == 2  # no terminal, no editor
    assert Path(dispatch.folder / ".dispatch" / "audit.jsonl").read_text().count("dlq edit") == 1
