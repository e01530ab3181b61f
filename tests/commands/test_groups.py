"""``dispatch groups reset``: where a function goes on."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

APP = """
from bindings import on_stream

@on_stream("STREAM")
async def handle(order: dict) -> None: ...
"""


def prepare(dispatch: Any, stream: str = "orders", *, run: bool = True) -> None:
    """A stream of 10 events in one partition, all of them handled."""
    dispatch.write("app.py", APP.replace("STREAM", stream))
    lines = "".join(json.dumps({"id": number}) + "\n" for number in range(10))
    dispatch("send", stream, "-", "--create", "--partitions", "1", stdin=lines)
    if run:
        assert dispatch("run", "app.py", "--until-caught-up").code == 0


def consumed(dispatch: Any) -> int:
    """How many events the next run is given."""
    done = dispatch("run", "app.py", "--until-caught-up", "--json")
    return int(done.json["functions"][0]["consumed"])


@pytest.mark.parametrize(
    ("to", "after"),
    [
        ("earliest", 0),
        ("latest", 10),
        ("now", 10),
        ("@4", 4),
        ("@99", 10),
        ("-3", 7),
        ("+5", 10),
        ("-99", 0),
        ("-1h", 0),
    ],
)
def test_where_it_goes_on(dispatch: Any, to: str, after: int) -> None:
    """Each word of the language is the offset that it says, within the log, and the next run begins there."""
    prepare(dispatch)
    done = dispatch("groups", "reset", "handle", "--to", to, "--yes", "--json")
    assert done.code == 0, done.stderr
    [move] = done.json
    assert (move["before"], move["after"], move["end"], move["lag_after"]) == (10, after, 10, 10 - after)
    assert consumed(dispatch) == 10 - after


def test_a_time_between_two_sends(dispatch: Any) -> None:
    """An ISO 8601 time is the first event at or after it."""
    prepare(dispatch)
    between = (datetime.now(UTC) + timedelta(milliseconds=1)).isoformat()
    dispatch("send", "orders", "-", stdin='{"id": 10}\n{"id": 11}\n')
    done = dispatch("groups", "reset", "handle", "--to", between, "--yes", "--json")
    assert done.json[0]["after"] == 10
    assert consumed(dispatch) == 2


def test_without_an_answer_nothing_changes(dispatch: Any) -> None:
    """--dry-run shows and ends with 0; with nobody to ask it shows, says so and ends with 2."""
    prepare(dispatch)
    shown = dispatch("groups", "reset", "handle", "--to", "earliest", "--dry-run")
    assert shown.code == 0
    assert shown.stdout.splitlines()[1].split() == ["orders", "0", "10", "0", "-10", "10", "10"]
    asked = dispatch("groups", "reset", "handle", "--to", "earliest", "--no-input")
    assert asked.code == 2
    assert "--yes" in asked.stderr
    assert dispatch("groups", "reset", "handle", "--to", "earliest").code == 2
    assert consumed(dispatch) == 0


def test_a_group_that_runs_is_not_touched(dispatch: Any) -> None:
    """While a member is live the reset is refused with 1, and names what to do; once it has stopped, it is done."""
    prepare(dispatch)
    run = dispatch.start("run", "app.py")
    run.until(lambda: dispatch("status", "--json").json[0]["members"] == 1, "the member")
    refused = dispatch("groups", "reset", "handle", "--to", "earliest", "--yes")
    assert refused.code == 1
    assert "1 live member" in refused.stderr
    assert "dispatch status" in refused.stderr
    run.interrupt()
    run.end()
    assert dispatch("groups", "reset", "handle", "--to", "earliest", "--yes").code == 0
    assert consumed(dispatch) == 10


def test_one_partition_alone(dispatch: Any) -> None:
    """--stream and --partition leave the others where they are."""
    dispatch.write("app.py", APP.replace('"STREAM"', '"orders", "returns"'))
    for stream in ("orders", "returns"):
        dispatch("send", stream, "-", "--raw", "--partitions", "2", stdin="{}\n" * 40)
    dispatch("run", "app.py", "--until-caught-up")
    done = dispatch(
        "groups", "reset", "handle", "--to", "earliest", "--stream", "returns", "--partition", "1", "--yes", "--json"
    )
    [move] = done.json
    assert (move["stream"], move["partition"], move["after"]) == ("returns", 1, 0)
    assert consumed(dispatch) == move["before"] > 0


def test_what_was_done_is_written_down(dispatch: Any) -> None:
    """The audit file has a line with who, when, and the offsets before and after."""
    prepare(dispatch)
    dispatch("groups", "reset", "handle", "--to", "@3", "--yes")
    [line] = (dispatch.folder / ".dispatch" / "audit.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["action"], entry["group"]) == ("groups reset", "shop.handle")
    assert (entry["before"]["orders/0"]["offset"], entry["after"]["orders/0"]) == (10, 3)


def test_a_place_that_it_stands_at_already(dispatch: Any) -> None:
    """There is nothing to ask and nothing to do."""
    prepare(dispatch)
    done = dispatch("groups", "reset", "handle", "--to", "latest")
    assert done.code == 0
    assert "stands there already" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("handle", "--to", "yesterday"), 2, "not a time"),
        (("handle",), 2, "Missing option '--to'"),
        (("handel", "--to", "now"), 2, "did you mean handle"),
        (("handle", "--to", "now", "--stream", "other"), 2, "consumes orders"),
        (("handle", "--to", "now", "--partition", "7"), 1, "no partition 7"),
        (("handle", "--to", "+1"), 1, "has committed nothing"),
    ],
)
def test_what_cannot_be_done(dispatch: Any, words: tuple[str, ...], code: int, said: str) -> None:
    """Errors say what is wrong, and nothing is asked or changed."""
    prepare(dispatch, run=False)
    done = dispatch("groups", "reset", *words)
    assert done.code == code
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.kafka
def test_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """Set, refused while a member is live, and gone on from there: on a real Kafka."""
    dispatch.environ["DISPATCH_BROKER"] = f"kafka://{kafka_bootstrap}"
    dispatch.environ["DISPATCH_APP"] = f"shop-{secrets.token_hex(4)}"
    prepare(dispatch, f"orders-{secrets.token_hex(4)}")
    run = dispatch.start("run", "app.py")
    run.until(lambda: dispatch("status", "--json").json[0]["members"] == 1, "the member", 40)
    refused = dispatch("groups", "reset", "handle", "--to", "-4", "--yes")
    assert (refused.code, "1 live member" in refused.stderr) == (1, True)
    run.interrupt()
    run.end()
    moved = dispatch("groups", "reset", "handle", "--to", "-4", "--yes", "--json")
    assert (moved.code, moved.json[0]["before"], moved.json[0]["after"]) == (0, 10, 6)
    assert consumed(dispatch) == 4
