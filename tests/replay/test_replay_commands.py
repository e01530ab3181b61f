"""Replays by the command, on a real embedded log."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Committed, TopicPartition

APP = """
import asyncio, json, os, pathlib
from bindings import Event, Reject, Retry, on_stream

@on_stream("orders", emits="results", retry=Retry(max_attempts=3, initial=0.01), ORDER)
async def handle(order: Event[dict]) -> dict:
    with open("handled", "a") as file:
        file.write(json.dumps([order.id, os.getpid()]) + "\\n")
    if order.value["id"] == 13 and pathlib.Path("broken").exists():
        raise ValueError("thirteen")
    if pathlib.Path("slow").exists():
        await asyncio.sleep(0.02)
    return order.value
"""


def shop(dispatch: Any, count: int = 40, *, partitions: int = 2, order: str = 'order="key"') -> None:
    """Orders that the function has handled, live."""
    dispatch.write("app.py", APP.replace("ORDER", order))
    lines = "".join(json.dumps({"id": number, "who": f"h{number % 7}"}) + "\n" for number in range(count))
    sent = dispatch("send", "orders", "-", "--key", "who", "--partitions", str(partitions), stdin=lines)
    assert sent.code == 0, sent.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 0


def take_handled(dispatch: Any) -> list[str]:
    """The events that the function was handed since the last look, in order."""
    path = dispatch.folder / "handled"
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    path.unlink()
    return [json.loads(line)[0] for line in lines]


async def live_commits(dispatch: Any, group: str = "shop.handle") -> dict[TopicPartition, Committed | None]:
    """What a group has committed for the orders."""
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        info = await broker.describe("orders")
        assert info is not None
        return await broker.committed(group, [TopicPartition("orders", n) for n in range(info.partitions)])


def results(dispatch: Any) -> int:
    """How many results the function has emitted."""
    streams = {each["stream"]: each["events"] for each in dispatch("streams", "list", "--json").json}
    return int(streams["results"])


async def test_history_comes_again_and_the_live_group_stays(dispatch: Any) -> None:
    """Every event of the span once, in the order of its key, in a group of its own; the live one's commits do not move."""
    shop(dispatch)
    live, first = await live_commits(dispatch), take_handled(dispatch)
    dry = dispatch("replay", "handle", "app.py", "--from", "earliest", "--dry-run", "--json")
    assert (dry.code, dry.json["events"], dry.json["dry_run"]) == (0, 40, True), dry.stderr
    assert take_handled(dispatch) == []
    done = dispatch("replay", "handle", "app.py", "--from", "earliest", "--yes", "--json")
    assert done.code == 0, done.stderr
    assert "results once more" in done.stderr
    assert (done.json["result"]["done"], done.json["group"]) == (40, f"shop.handle.replay-{done.json['id']}")
    again = take_handled(dispatch)
    assert Counter(again) == Counter(first)
    assert await live_commits(dispatch) == live
    assert results(dispatch) == 80
    quiet = dispatch("replay", "handle", "app.py", "--from", "-1h", "--yes", "--no-emit", "--json")
    assert (quiet.code, quiet.json["result"]["done"], quiet.json["result"]["emitted"]) == (0, 40, 0), quiet.stderr
    assert results(dispatch) == 80


def test_a_span_is_just_that(dispatch: Any) -> None:
    """@OFFSET, --partition and times bound what is delivered; --to itself is not."""
    shop(dispatch, partitions=1)
    take_handled(dispatch)
    assert dispatch("replay", "handle", "app.py", "--from", "@10", "--to", "@13", "--yes").code == 0
    assert sorted(take_handled(dispatch)) == ["orders/0/10", "orders/0/11", "orders/0/12"]
    before = dispatch("replay", "handle", "app.py", "--from", "earliest", "--to", "2020-01-01T00:00:00Z", "--yes")
    assert (before.code, "nothing to replay" in before.stderr, take_handled(dispatch)) == (0, True, [])
    absent = dispatch("replay", "handle", "app.py", "--from", "@0", "--partition", "7", "--yes")
    assert (absent.code, "no partition 7" in absent.stderr) == (1, True)
    wrong = dispatch("replay", "handle", "app.py", "--from", "yesterday")
    assert (wrong.code, "@OFFSET" in wrong.stderr) == (2, True)
    assert dispatch("replay", "handle", "app.py").code == 2
    assert dispatch("replay", "handle", "app.py", "--from", "earliest").code == 2
    assert take_handled(dispatch) == []


def test_it_ends_where_the_stream_ended_when_it_began(dispatch: Any) -> None:
    """What comes in meanwhile is live, and not part of the replay."""
    shop(dispatch)
    dispatch.write("slow", "")
    take_handled(dispatch)
    run = dispatch.start("replay", "handle", "app.py", "--from", "earliest", "--yes", "--json", "--rate", "40")
    run.until((dispatch.folder / "handled").exists, "the first event")
    dispatch("send", "orders", "-", "--key", "who", stdin='{"id": 900, "who": "h1"}\n' * 5)
    done = run.end(30)
    assert (done.code, done.json["events"], done.json["result"]["done"]) == (0, 40, 40), done.stderr
    assert len(take_handled(dispatch)) == 40


def test_dead_letters_of_a_replay_make_it_fail(dispatch: Any) -> None:
    """An event that fails again goes to the dead letters with its own coordinates, and the command exits 1."""
    shop(dispatch)
    dispatch.write("broken", "")
    done = dispatch("replay", "handle", "app.py", "--from", "earliest", "--yes", "--json")
    assert (done.code, done.json["result"]["dead_lettered"], done.json["result"]["done"]) == (1, 1, 39), done.stderr
    assert "dispatch dlq list handle" in done.stderr
    [letter] = dispatch("dlq", "list", "handle", "app.py", "--json").json
    assert (letter["stream"], letter["event"]["value"]["id"], letter["attempts"]) == ("orders", 13, 3)


def test_an_unordered_function_retries_in_its_place(dispatch: Any) -> None:
    """A replay's retries do not go by the retry topic, where the live function would get them."""
    shop(dispatch, order='order="none"')
    text = (dispatch.folder / "app.py").read_text()
    dispatch.write("app.py", text.replace("initial=0.01", "initial=0.01, topic_after=0.0"))
    dispatch.write("broken", "")
    done = dispatch("replay", "handle", "app.py", "--from", "earliest", "--yes", "--json")
    assert (done.code, done.json["result"]["dead_lettered"], done.json["result"]["retry_topic"]) == (1, 1, 0)
    streams = {each["stream"]: each["events"] for each in dispatch("streams", "list", "--json").json}
    assert streams["orders.handle.retry"] == 0


async def test_a_killed_replay_goes_on_where_it_was(dispatch: Any) -> None:
    """Kill -9 in the midst: the same --id delivers what is left, to the same end, and repeats no more than was uncommitted."""
    shop(dispatch, 600, partitions=3)
    dispatch.write("slow", "")
    take_handled(dispatch)
    words = ("replay", "handle", "app.py", "--id", "again", "--yes")
    run = dispatch.start(*words, "--from", "earliest", "--rate", "100")
    path, deadline = dispatch.folder / "handled", time.monotonic() + 30
    while not path.exists() or len(path.read_text().splitlines()) < 300:
        assert time.monotonic() < deadline, run.stderr
        time.sleep(0.01)
    run.interrupt(signal.SIGKILL)
    run.end()
    first = take_handled(dispatch)
    assert 300 <= len(first) < 600
    dispatch("send", "orders", "-", "--key", "who", stdin='{"id": 900, "who": "h1"}\n' * 5)
    done = dispatch(*words, "--json")
    assert (done.code, done.json["resumed"]) == (0, True), done.stderr
    second = take_handled(dispatch)
    assert len(set(first) | set(second)) == 600
    # A commit comes every 0.5 s, and 100 calls a second are made, after as many at once.
    assert len(set(first) & set(second)) <= 100
    through = dispatch(*words)
    assert (through.code, "nothing is left of it" in through.stderr, take_handled(dispatch)) == (0, True, [])
    unknown = dispatch("replay", "handle", "app.py", "--id", "never", "--yes")
    assert (unknown.code, "--from" in unknown.stderr) == (1, True)


async def test_ctrl_c_says_how_to_go_on(dispatch: Any) -> None:
    """An interrupted replay drains, commits and names the command that goes on; nothing is delivered twice."""
    shop(dispatch, 200)
    dispatch.write("slow", "")
    take_handled(dispatch)
    spared = ("--rate", "60", "--no-emit")
    run = dispatch.start(
        "replay", "handle", "app.py", "--app", "other", "--id", "b", "--from", "earliest", *spared, "--yes"
    )
    run.until((dispatch.folder / "handled").exists, "the first event")
    run.interrupt()
    done = run.end()
    assert done.code == 130
    # The same app, and what was spared is spared on.
    [words] = re.findall(r"it goes on with dispatch (.*)", done.stderr)
    assert words == "replay handle app.py --app other --id b --no-emit --rate 60"
    assert dispatch(*words.split(), "--yes").code == 0
    assert set(Counter(take_handled(dispatch)).values()) == {1}


async def test_a_reset_moves_the_live_group_and_only_when_it_is_idle(dispatch: Any) -> None:
    """Refused while the function runs; else its offsets go back, after a table of before and after, and an audit line."""
    shop(dispatch, partitions=1)
    take_handled(dispatch)
    run = dispatch.start("run", "app.py")
    run.until(lambda: run.said("handle: running"), "the function")
    refused = dispatch("replay", "handle", "app.py", "--from", "@30", "--reset", "--yes")
    assert (refused.code, "Stop it first" in refused.stderr) == (1, True), refused.stderr
    run.interrupt()
    run.end()
    unmoved = await live_commits(dispatch)
    dry = dispatch("replay", "handle", "app.py", "--from", "@30", "--reset", "--dry-run", "--json")
    assert dry.json == [{"stream": "orders", "partition": 0, "before": 40, "after": 30}]
    assert dispatch("replay", "handle", "app.py", "--from", "@30", "--reset").code == 2
    assert await live_commits(dispatch) == unmoved
    done = dispatch("replay", "handle", "app.py", "--from", "@30", "--reset", "--yes")
    assert (done.code, "-10" in done.stdout) == (0, True), done.stderr
    assert await live_commits(dispatch) == {TopicPartition("orders", 0): Committed(30)}
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert sorted(take_handled(dispatch)) == [f"orders/0/{n}" for n in range(30, 40)]
    [line] = (dispatch.folder / ".dispatch" / "audit.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["action"], entry["after"]) == ("replay --reset", {"orders/0": 30})
    assert datetime.fromisoformat(entry["time"]) <= datetime.now(UTC)
    mixed = dispatch("replay", "handle", "app.py", "--from", "@3", "--to", "@5", "--reset", "--yes")
    assert mixed.code == 2


def test_replays_are_listed_with_how_far_they_are(dispatch: Any) -> None:
    """A replay is in the list from its begin; killed it is interrupted with what is left, and gone on with it is done."""
    shop(dispatch, 200)
    empty = dispatch("replay", "--list", "--app", "shop", "--json")
    assert (empty.code, empty.json) == (0, [])
    dispatch.write("slow", "")
    run = dispatch.start("replay", "handle", "app.py", "--from", "earliest", "--id", "one", "--rate", "40", "--yes")
    take_handled(dispatch)

    def listed() -> Any:
        found = dispatch("replay", "--list", "--app", "shop", "--json").json
        return found[0] if found else {"state": None, "left": 0}

    run.until(lambda: listed()["state"] == "running" and listed()["left"] < 190, "some of it", 40)
    run.interrupt(signal.SIGKILL)
    run.end()
    deadline = time.monotonic() + 40
    while (stands := listed())["state"] != "interrupted":  # until the broker has put the dead member out
        assert time.monotonic() < deadline, stands
    assert 0 < stands["left"] < 190
    (dispatch.folder / "slow").unlink()
    again = dispatch("replay", "handle", "app.py", "--id", "one", "--yes")
    assert again.code == 0, again.stderr
    done = listed()
    assert (done["state"], done["left"], done["events"], done["started_ms"]) == ("done", 0, 200, stands["started_ms"])
    table = dispatch("replay", "handle", "--list", "--app", "shop")
    assert ("one" in table.stdout, "done" in table.stdout) == (True, True)
    assert dispatch("replay", "--from", "earliest", "--yes").code == 2
