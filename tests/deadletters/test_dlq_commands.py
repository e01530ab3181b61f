"""The commands of the dead letters, on a real embedded log."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import TopicPartition
from dispatcher.deadletters.redrive import WINDOW

APP = """
import json, pathlib
from bindings import Event, Reject, Retry, on_stream

@on_stream("orders", retry=Retry(max_attempts=1))
async def handle(order: Event[dict]) -> None:
    if order.value["id"] % 5 == 0 and not pathlib.Path("mended").exists():
        raise Reject(f"no {order.value['id']}") if order.value["id"] % 2 else ValueError("odd")
    with open("handled", "a") as file:
        file.write(json.dumps([order.id, order.value["id"], order.timestamp_ms]) + "\\n")

@on_stream("orders")
async def other(order: Event[dict]) -> None:
    with open("other", "a") as file:
        file.write(order.id + "\\n")
"""


def shop(dispatch: Any, count: int = 40, *, partitions: int = 2) -> None:
    """Orders, of which every fifth becomes a dead letter of ``handle``."""
    dispatch.write("app.py", APP)
    lines = "".join(json.dumps({"id": number, "who": f"h{number % 3}"}) + "\n" for number in range(count))
    sent = dispatch("send", "orders", "-", "--key", "who", "--partitions", str(partitions), stdin=lines)
    assert sent.code == 0, sent.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 1


def handled(dispatch: Any) -> list[tuple[str, int, int]]:
    """What ``handle`` was through with: coordinates, number, timestamp."""
    path = dispatch.folder / "handled"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


async def retry_copies(dispatch: Any) -> list[str]:
    """The coordinates of all that was sent back so far."""
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        info = await broker.describe("orders.handle.retry")
        if info is None:
            return []
        found = []
        for number in range(info.partitions):
            records = await broker.read({TopicPartition(info.name, number): 0}, max_records=100_000)
            for record in records[TopicPartition(info.name, number)]:
                headers = dict(record.headers)
                found.append(
                    "/".join(headers[f"dispatch-retry-{n}"].decode() for n in ("stream", "partition", "offset"))
                )
        return found


def test_list_names_each_letter_and_filters_find_some(dispatch: Any) -> None:
    """Eight of forty are dead; by reason, error, key, time, CEL and place each filter finds just those that it means."""
    shop(dispatch)
    everything = dispatch("dlq", "list", "handle", "app.py", "--json")
    assert everything.code == 0, everything.stderr
    assert sorted(each["event"]["value"]["id"] for each in everything.json) == list(range(0, 40, 5))
    first = everything.json[0]
    assert (first["function"], first["redrives"], first["attempts"], first["resolved"]) == ("handle", 0, 1, False)

    def ids(*words: str) -> list[int]:
        found = dispatch("dlq", "list", "handle", "app.py", "-o", "jsonl", *words)
        assert found.code == 0, found.stderr
        return sorted(json.loads(line)["event"]["value"]["id"] for line in found.stdout.splitlines())

    assert ids("--reason", "rejected") == [5, 15, 25, 35]
    assert ids("--error", "ValueError") == [0, 10, 20, 30]
    assert ids("--key", "h0") == [0, 15, 30]
    assert ids("--where", "value.id > 20") == [25, 30, 35]
    assert ids("--since", "-1h") == list(range(0, 40, 5))
    assert ids("--until", "-1h") == []
    assert ids("--since", "2020-01-01T00:00:00Z", "--key", "h0", "--reason", "rejected") == [15]
    assert len(ids("--limit", "3")) == 3

    table = dispatch("dlq", "list", "handle", "app.py")
    assert len(table.stdout.splitlines()) == 9
    assert "Reject: no 5" in table.stdout
    assert "dispatch dlq redrive handle app.py" in table.stderr


def test_show_has_all_of_one(dispatch: Any) -> None:
    """One letter whole: where it comes from, what went wrong, its value decoded; and what is none is an error with the next command."""
    shop(dispatch, partitions=1)
    [letter] = [
        each
        for each in dispatch("dlq", "list", "handle", "app.py", "--json").json
        if each["event"]["value"]["id"] == 15
    ]
    place = letter["letter"].partition("/")[2]
    shown = dispatch("dlq", "show", "handle", place, "app.py")
    assert shown.code == 0, shown.stderr
    for part in ("orders/0@15", "rejected", "no 15", '"who": "h0"', "attempts"):
        assert part in shown.stdout, part
    assert dispatch("dlq", "show", "handle", letter["letter"], "app.py", "--json").json == letter
    missing = dispatch("dlq", "show", "handle", "0@999", "app.py")
    assert missing.code == 1
    assert "dispatch dlq list handle app.py --all" in missing.stderr
    assert dispatch("dlq", "show", "handle", "first", "app.py").code == 2


def test_a_redrive_comes_back_to_that_function_alone_as_it_was(dispatch: Any) -> None:
    """The events arrive with their first coordinates and timestamps, in the order of their keys, and no other function sees them."""
    shop(dispatch)
    before = (dispatch.folder / "other").read_text()
    originals = {
        each["event"]["value"]["id"]: (each["stream"], each["partition"], each["offset"], each["timestamp_ms"])
        for each in dispatch("dlq", "list", "handle", "app.py", "--json").json
    }
    (dispatch.folder / "handled").unlink()
    dispatch.write("mended", "")
    redriven = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json")
    assert (redriven.code, redriven.json["redriven"], redriven.json["refused"]) == (0, 8, 0), redriven.stderr
    assert dispatch("dlq", "list", "handle", "app.py", "--json").json == []
    assert len(dispatch("dlq", "list", "handle", "app.py", "--all", "--json").json) == 8
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    arrived = {number: (*identity.split("/"), at) for identity, number, at in handled(dispatch)}
    assert arrived == {n: (stream, str(p), str(offset), at) for n, (stream, p, offset, at) in originals.items()}
    for who in range(3):
        order = [number for _, number, _ in handled(dispatch) if number % 3 == who]
        assert order == sorted(order)
    assert (dispatch.folder / "other").read_text() == before
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json").json["redriven"] == 0
    [line] = (dispatch.folder / ".dispatch" / "audit.jsonl").read_text().splitlines()
    assert (json.loads(line)["action"], json.loads(line)["letters"]) == ("dlq redrive", 8)


def test_a_function_that_runs_finds_its_redriven_events(dispatch: Any) -> None:
    """An ordered function that was started before its first redrive takes the events without a restart."""
    shop(dispatch)
    dispatch.write("mended", "")
    (dispatch.folder / "handled").unlink()
    run = dispatch.start("run", "app.py")
    run.until(lambda: run.said("handle: running"), "the function")
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes").code == 0
    run.until(lambda: len(handled(dispatch)) == 8, "the dead letters", 30)
    run.interrupt()
    assert run.end().code == 130
    assert sorted(number for _, number, _ in handled(dispatch)) == list(range(0, 40, 5))


def test_the_loop_guard_counts_redrives(dispatch: Any) -> None:
    """What fails after each redrive is held after --max-redrives of them, until it is forced."""
    shop(dispatch, 6)
    for round_ in range(2):
        done = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--max-redrives", "2", "--json")
        assert (done.json["redriven"], done.json["held"]["looping"]) == (2, 0), done.stderr
        assert dispatch("run", "app.py", "--until-caught-up").code == 1
        letters = dispatch("dlq", "list", "handle", "app.py", "--json").json
        assert [each["redrives"] for each in letters] == [round_ + 1] * 2
        assert {each["partition"] for each in letters} <= {0, 1}
        assert {each["stream"] for each in letters} == {"orders"}
    held = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--max-redrives", "2", "--json")
    assert (held.json["redriven"], held.json["held"]["looping"]) == (0, 2)
    assert "--force" in held.stderr
    forced = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--max-redrives", "2", "--force", "--json")
    assert forced.json["redriven"] == 2


def test_a_part_is_redriven_and_the_rest_stays(dispatch: Any) -> None:
    """Filters, --max and --letter send what they mean; what is left stands in the list, whatever was sent around it."""
    shop(dispatch, 60, partitions=1)

    def left() -> list[int]:
        return [each["event"]["value"]["id"] for each in dispatch("dlq", "list", "handle", "app.py", "--json").json]

    every = dispatch("dlq", "list", "handle", "app.py", "--json").json
    dry = dispatch("dlq", "redrive", "handle", "app.py", "--reason", "rejected", "--dry-run", "--json")
    assert (dry.json["dry_run"], dry.json["redriven"]) == (True, 6)
    assert dry.json["reasons"] == [{"reason": "rejected", "error_type": "Reject", "letters": 6}]
    assert len(left()) == 12
    assert dispatch("dlq", "redrive", "handle", "app.py", "--reason", "rejected", "--yes").code == 0
    assert left() == [0, 10, 20, 30, 40, 50]
    assert dispatch("dlq", "redrive", "handle", "app.py", "--max", "2", "--yes").code == 0
    assert left() == [20, 30, 40, 50]
    place = next(each["letter"] for each in every if each["event"]["value"]["id"] == 40)
    assert dispatch("dlq", "redrive", "handle", "app.py", "--letter", place, "--yes").code == 0
    assert left() == [20, 30, 50]
    dropped = dispatch("dlq", "drop", "handle", "app.py", "--where", "value.id == 30", "--yes", "--json")
    assert (dropped.code, dropped.json["dropped"]) == (0, 1)
    assert left() == [20, 50]
    log = [json.loads(line) for line in (dispatch.folder / ".dispatch" / "audit.jsonl").read_text().splitlines()]
    assert [(each["action"], each["letters"]) for each in log[-1:]] == [("dlq drop", 1)]
    assert all(each["user"] and each["time"] for each in log)
    dispatch.write("mended", "")
    (dispatch.folder / "handled").unlink()
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert sorted(number for _, number, _ in handled(dispatch)) == [0, 5, 10, 15, 25, 35, 40, 45, 55]


def test_letters_are_reached_by_their_topic_without_the_code(dispatch: Any) -> None:
    """Where the function's code is not at hand, --stream and the app's name are enough."""
    shop(dispatch)
    (dispatch.folder / "app.py").unlink()
    lost = dispatch("dlq", "list", "handle")
    assert lost.code != 0
    topic = ("--stream", "orders.handle.dead", "--app", "shop")
    assert len(dispatch("dlq", "list", "handle", *topic, "--json").json) == 8
    assert dispatch("dlq", "redrive", "handle", *topic, "--yes", "--json").json["redriven"] == 8
    assert dispatch("dlq", "list", "handle", *topic, "--json").json == []


def test_nothing_is_done_unasked(dispatch: Any) -> None:
    """Without a terminal or with --no-input the commands refuse, exit 2 and change nothing; a wrong name gets the right one."""
    shop(dispatch)
    for words in (("redrive",), ("drop",), ("redrive", "--no-input"), ("drop", "--no-input")):
        done = dispatch("dlq", words[0], "handle", "app.py", *words[1:])
        assert (done.code, "--yes" in done.stderr) == (2, True)
    assert len(dispatch("dlq", "list", "handle", "app.py", "--json").json) == 8
    wrong = dispatch("dlq", "list", "handel", "app.py")
    assert (wrong.code, "did you mean handle" in wrong.stderr) == (2, True)
    clean = dispatch("dlq", "list", "other", "app.py")
    assert (clean.code, "0 dead letters of other" in clean.stderr) == (0, True)


def test_a_person_is_asked_and_may_say_no(dispatch: Any) -> None:
    """On a terminal the question comes after what would be done; no is exit 1 and changes nothing, yes does it."""
    shop(dispatch)
    for answer, code, left in (("n", 1, 8), ("y", 0, 0)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", "dlq", "redrive", "handle", "app.py"],
            cwd=dispatch.folder,
            env=dispatch.environ | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        drawn, is_asked, deadline = "", False, time.monotonic() + 30
        with contextlib.suppress(OSError):  # EIO: it has ended
            while time.monotonic() < deadline:
                drawn += os.read(ours, 65_536).decode()
                if "[y/N]" in drawn and not is_asked:
                    assert drawn.index("8 to be redriven") < drawn.index("[y/N]")
                    os.write(ours, f"{answer}\n".encode())
                    is_asked = True
        assert process.wait(20) == code, drawn
        os.close(ours)
        assert len(dispatch("dlq", "list", "handle", "app.py", "--json").json) == left


async def test_a_killed_redrive_goes_on_and_loses_nothing(dispatch: Any) -> None:
    """Kill -9 in the midst: the next redrive sends the rest, all arrive, and no more twice than what was in flight."""
    dispatch.write("app.py", APP)
    lines = "".join(json.dumps({"id": 5 * number, "who": f"h{number % 30}"}) + "\n" for number in range(1_500))
    dispatch("send", "orders", "-", "--key", "who", "--partitions", "3", stdin=lines)
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    redrive = dispatch.start("dlq", "redrive", "handle", "app.py", "--yes", "--rate", "600")
    deadline = time.monotonic() + 30
    while len(sent := await retry_copies(dispatch)) < 400:
        assert time.monotonic() < deadline, redrive.stderr
    redrive.interrupt(signal.SIGKILL)
    redrive.end()
    sent = await retry_copies(dispatch)
    assert 400 <= len(sent) < 1_500
    left = len(dispatch("dlq", "list", "handle", "app.py", "--json").json)
    assert 1_500 - len(sent) <= left <= 1_500 - len(sent) + WINDOW
    again = dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json")
    assert (again.code, again.json["redriven"]) == (0, left), again.stderr
    copies = Counter(await retry_copies(dispatch))
    assert len(copies) == 1_500
    assert sum(copies.values()) == len(sent) + left
    assert dispatch("dlq", "list", "handle", "app.py", "--json").json == []


def test_the_command_that_a_list_prints_sends_back_what_it_lists(dispatch: Any) -> None:
    """Pasted, it is about the letters that the filters found, and no others; also where a filter has to be quoted."""
    shop(dispatch)
    filters = ("--reason", "rejected", "--where", 'value.id > 10 && value.who != "h 9"', "--since", "-1h")
    listed = dispatch("dlq", "list", "handle", "app.py", *filters)
    assert listed.stdout.count("rejected") == 3
    [line] = [line for line in listed.stderr.splitlines() if "send them back: dispatch " in line]
    done = dispatch(*shlex.split(line.partition("dispatch ")[2]), "--yes", "--json")
    assert (done.code, done.json["redriven"]) == (0, 3), done.stderr


async def test_a_ctrl_c_says_what_was_done_and_repeats_nothing(dispatch: Any) -> None:
    """An interrupted redrive commits what it sent: the next one sends each of the others once."""
    dispatch.write("app.py", APP)
    lines = "".join(json.dumps({"id": 5 * number}) + "\n" for number in range(300))
    dispatch("send", "orders", "-", stdin=lines)
    dispatch("run", "app.py", "--until-caught-up")
    redrive = dispatch.start("dlq", "redrive", "handle", "app.py", "--yes", "--rate", "50")
    deadline = time.monotonic() + 30
    while len(await retry_copies(dispatch)) < 40:
        assert time.monotonic() < deadline, redrive.stderr
    redrive.interrupt()
    done = redrive.end()
    assert done.code == 130
    assert "Traceback" not in done.stderr
    assert "redriven" in done.stderr
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes").code == 0
    copies = Counter(await retry_copies(dispatch))
    assert (len(copies), set(copies.values())) == (300, {1})


def test_a_redriven_event_passes_the_filter_again(dispatch: Any) -> None:
    """One that where= had no answer for keeps its coordinates however often it fails, and is judged by the mended filter."""
    dispatch.write(
        "app.py", APP.replace("Retry(max_attempts=1))", 'Retry(max_attempts=1), where="value.total > 1.0")', 1)
    )
    dispatch.write("mended", "")
    lines = '{"id": 1, "total": 5.0}\n{"id": 2}\n{"id": 3}\n'
    dispatch("send", "orders", "-", "--partitions", "1", stdin=lines)
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json").json["redriven"] == 2
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    letters = dispatch("dlq", "list", "handle", "app.py", "--json").json
    assert [(each["stream"], each["offset"], each["redrives"]) for each in letters] == [
        ("orders", 1, 1),
        ("orders", 2, 1),
    ]
    text = (dispatch.folder / "app.py").read_text()
    dispatch.write("app.py", text.replace("value.total > 1.0", "value.id != 3"))
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json").json["redriven"] == 2
    done = dispatch("run", "app.py", "--until-caught-up", "--only", "handle", "--json")
    [function] = done.json["functions"]
    assert (done.code, function["done"], function["filtered"]) == (0, 1, 1)
    assert [identity for identity, _, _ in handled(dispatch)] == ["orders/0/0", "orders/0/1"]
