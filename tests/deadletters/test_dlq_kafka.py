"""Dead letters and replays on a real Apache Kafka."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

APP = """
import json, pathlib
from bindings import Event, Reject, on_stream

@on_stream("STREAM")
async def handle(order: Event[dict]) -> None:
    if order.value["id"] % 5 == 0 and not pathlib.Path("mended").exists():
        raise Reject("not yet")
    with open("handled", "a") as file:
        file.write(json.dumps([order.id, order.value["id"]]) + "\\n")
"""


def handled(dispatch: Any) -> list[tuple[str, int]]:
    """What the function was through with."""
    path = dispatch.folder / "handled"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def shop(dispatch: Any, bootstrap: str) -> str:
    """Sixty orders on Kafka, of which twelve are dead letters."""
    stream = f"orders-{secrets.token_hex(4)}"
    dispatch.environ["DISPATCH_BROKER"] = f"kafka://{bootstrap}"
    dispatch.write("app.py", APP.replace("STREAM", stream))
    lines = "".join(json.dumps({"id": number, "who": f"h{number % 7}"}) + "\n" for number in range(60))
    assert dispatch("send", stream, "-", "--key", "who", "--create", "--partitions", "3", stdin=lines).code == 0
    ran = dispatch("run", "app.py", "--app", stream, "--until-caught-up")
    assert ran.code == 1, ran.stderr
    return stream


def test_dead_letters_are_listed_and_redriven_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """A part is sent back to a function that runs, the rest is dropped, and Kafka remembers which was which."""
    stream = shop(dispatch, kafka_bootstrap)
    fn = ("handle", "app.py", "--app", stream)
    letters = dispatch("dlq", "list", *fn, "--json")
    assert letters.code == 0, letters.stderr
    coordinates = {each["event"]["value"]["id"]: each["event"] for each in letters.json}
    assert sorted(coordinates) == list(range(0, 60, 5))
    dispatch.write("mended", "")
    (dispatch.folder / "handled").unlink()
    run = dispatch.start("run", "app.py", "--app", stream)
    run.until(lambda: run.said("handle: running"), "the function", 40)
    redriven = dispatch("dlq", "redrive", *fn, "--where", "value.id < 30", "--yes", "--json")
    assert (redriven.code, redriven.json["redriven"]) == (0, 6), redriven.stderr
    run.until(lambda: len(handled(dispatch)) == 6, "the redriven events", 60)
    run.interrupt()
    assert run.end(40).code == 130
    assert {number: identity for identity, number in handled(dispatch)} == {
        number: f"{stream}/{event['partition']}/{event['offset']}"
        for number, event in coordinates.items()
        if number < 30
    }
    assert [each["event"]["value"]["id"] >= 30 for each in dispatch("dlq", "list", *fn, "--json").json] == [True] * 6
    place = letters.json[0]["letter"]
    assert dispatch("dlq", "show", "handle", place, "app.py", "--app", stream).code == 0
    assert dispatch("dlq", "drop", *fn, "--yes", "--json").json["dropped"] == 6
    assert dispatch("dlq", "list", *fn, "--json").json == []
    assert len(dispatch("dlq", "list", *fn, "--all", "--json").json) == 12


def test_history_comes_again_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """A replay has its own group and ends; a reset moves the live one, and not while it runs."""
    stream = shop(dispatch, kafka_bootstrap)
    fn = ("handle", "app.py", "--app", stream)
    dispatch.write("mended", "")
    (dispatch.folder / "handled").unlink()
    replayed = dispatch("replay", *fn, "--from", "-1h", "--yes", "--json")
    assert (replayed.code, replayed.json["result"]["done"]) == (0, 60), replayed.stderr
    assert sorted(number for _, number in handled(dispatch)) == list(range(60))
    (dispatch.folder / "handled").unlink()
    once_more = dispatch("replay", *fn, "--id", replayed.json["id"], "--yes")
    assert (once_more.code, "nothing is left" in once_more.stderr) == (0, True), once_more.stderr
    idle = dispatch("run", "app.py", "--app", stream, "--until-caught-up", "--json")
    assert idle.json["functions"][0]["consumed"] == 0

    run = dispatch.start("run", "app.py", "--app", stream)
    run.until(lambda: run.said("handle: running"), "the function", 40)
    refused = dispatch("replay", *fn, "--from", "earliest", "--reset", "--yes")
    assert (refused.code, "Stop it first" in refused.stderr) == (1, True), refused.stderr
    run.interrupt()
    run.end(40)
    moved = dispatch("replay", *fn, "--from", "earliest", "--reset", "--yes")
    assert moved.code == 0, moved.stderr
    again = dispatch("run", "app.py", "--app", stream, "--until-caught-up", "--json")
    assert again.json["functions"][0]["done"] == 60


def test_errors_operations_edits_and_shadows_on_kafka(dispatch: Any, kafka_bootstrap: str) -> None:
    """What is said of an error and what a redrive was begun with are in Kafka; a letter is edited; a shadow finds what differs."""
    stream = shop(dispatch, kafka_bootstrap)
    app = ("app.py", "--app", stream)
    [error] = dispatch("errors", "list", *app, "--json").json
    assert (error["letters"], error["place"], error["state"]) == (12, "app.py:handle", "open")
    said = dispatch("errors", "resolve", error["error"], *app, "--why", "mended")
    assert said.code == 0, said.stderr
    assert dispatch("errors", "list", *app, "--json").json == []
    [again] = dispatch("errors", "list", *app, "--all", "--json").json
    assert (again["state"], again["said"]["why"]) == ("resolved", "mended")

    letter = next(each for each in error_letters(dispatch, app) if each["event"]["value"]["id"] == 55)
    edited = dispatch("dlq", "edit", "handle", letter["letter"], *app, "--value", "-", "--yes", stdin='{"id": 56}')
    assert edited.code == 0, edited.stderr
    dispatch.write("mended", "")
    redriven = dispatch("dlq", "redrive", "handle", *app, "--fingerprint", error["error"], "--yes", "--json")
    assert (redriven.code, redriven.json["redriven"]) == (0, 11), redriven.stderr
    resumed = dispatch("dlq", "redrive", "--resume", redriven.json["operation"], "--app", stream, "--yes", "--json")
    assert (resumed.code, resumed.json["redriven"]) == (0, 0), resumed.stderr
    states = dispatch("dlq", "operations", "--app", stream, "--json").json
    assert [(each["what"], each["state"], each["cleared"]) for each in states] == [
        ("redrive", "done", 11),
        ("edit", "done", 1),
    ]

    dispatch.write("newer.py", (dispatch.folder / "app.py").read_text().replace("% 5 == 0 and", "== 7 or False and"))
    shadow = dispatch("replay", "handle", *app, "--from", "earliest", "--shadow", "newer.py:handle", "--yes", "--json")
    assert shadow.code == 1, shadow.stderr
    assert (shadow.json["events"], shadow.json["different"]["broken"]) == (60, 1)


def error_letters(dispatch: Any, app: tuple[str, ...]) -> Any:
    """All open letters."""
    return dispatch("dlq", "list", "handle", *app, "--json").json
