"""``dispatch invoke``: a function on given events, with nothing committed and nothing produced."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

APP = """
import time
from bindings import BatchFailures, Context, Reject, Retry, on_stream
from pydantic import BaseModel

class Order(BaseModel):
    id: int

def look_up(order):
    raise KeyError("household")

@on_stream("orders", emits="results", where="value.id != 99", retry=Retry(max_attempts=3, initial=2.0))
async def handle(order: Order, context: Context) -> dict:
    print("printed by the function")
    if order.id == 1:
        raise Reject("no ones")
    if order.id == 2:
        look_up(order)
    if order.id == 3:
        raise Retry.after(30)
    return {"id": order.id, "attempt": context.attempt}

@on_stream("orders", timeout=0.2, retry=Retry(max_attempts=1))
def slow(order: dict) -> None:
    time.sleep(order["seconds"])

@on_stream("orders")
def many(orders: list[Order]) -> None:
    if bad := {index: "bad" for index, order in enumerate(orders) if order.id == 2}:
        raise BatchFailures(bad)
"""


@pytest.fixture
def shop(dispatch: Any) -> Any:
    """The command in a folder with functions."""
    dispatch.write("app.py", APP)
    return dispatch


def outcomes(done: Any) -> list[tuple[str, str | None]]:
    """The outcome of each event, with the error's type or the reason."""
    return [
        (event["outcome"], event["reason"] or event["error_type"]) for each in done.json for event in each["events"]
    ]


def test_each_event_has_the_outcome_that_a_run_would_give_it(shop: Any) -> None:
    """Done, filtered, rejected, failed, asked to wait and undecodable are told apart, and the exit code is 1."""
    lines = "".join(json.dumps({"id": number}) + "\n" for number in (0, 1, 2, 3, 99)) + '{"id": "x"}\n'
    done = shop("invoke", "handle", "-e", "-", "-o", "json", stdin=lines)
    assert done.code == 1
    assert outcomes(done) == [
        ("done", None),
        ("given_up", "rejected"),
        ("retry", "KeyError"),
        ("retry", "RetryAfter"),
        ("filtered", None),
        ("given_up", "rejected"),
    ]
    first, _, failed, waits, *_ = done.json
    assert first["returned"] == {"id": 0, "attempt": 1}
    [emitted] = first["emitted"]
    assert (emitted["stream"], emitted["value"]) == ("results", {"id": 0, "attempt": 1})
    assert failed["events"][0]["retry_within"] == 2.0
    assert waits["events"][0]["retry_within"] == 30.0
    assert not failed["emitted"]
    assert "printed by the function" in done.stderr


def test_a_function_that_succeeds_ends_with_0_and_says_what_it_would_emit(shop: Any) -> None:
    """Text for people: the outcome, how long it took, the result and where it would go."""
    done = shop("invoke", "handle", "-e", "-", stdin='{"id": 7}')
    assert done.code == 0
    assert "orders/0@0: done in " in done.stdout
    assert 'would emit to results: {"id":7,"attempt":1}' in done.stdout
    assert "printed" not in done.stdout


def test_the_traceback_begins_in_the_function(shop: Any) -> None:
    """What failed is shown from the function on, without the frames of the dispatcher."""
    done = shop("invoke", "handle", "-e", "-", "--json", stdin='{"id": 2}')
    trace = done.json[0]["traceback"]
    assert [line.split(" in ")[1] for line in trace.splitlines() if line.startswith("  File")] == ["handle", "look_up"]
    assert trace.endswith("KeyError: 'household'")
    assert "dispatcher" not in trace


def test_the_last_attempt_is_followed_by_the_dead_letters(shop: Any) -> None:
    """--attempt says which delivery it is: the function sees it, and after the last one there is no next."""
    last = shop("invoke", "handle", "-e", "-", "--attempt", "3", stdin='{"id": 2}\n{"id": 4}')
    assert "given up" in last.stdout
    assert "orders.handle.dead" in last.stdout
    assert '"attempt":3' in last.stdout


def test_records_bring_their_key_and_headers(shop: Any) -> None:
    """A line as `streams tail --json` prints it is a whole record; an object that only has a value is a value."""
    shop.write(
        "echo.py",
        """
from bindings import Event, on_stream

@on_stream("orders")
def echo(order: Event[dict]) -> list:
    return [order.value, str(order.key), order.headers[0][0] if order.headers else None, order.id]
""",
    )
    record = {
        "stream": "elsewhere", "partition": 2, "offset": 41, "timestamp_ms": 5, "key": "h1", "key_type": "text",
        "value": {"id": 1}, "value_type": "json", "headers": [{"name": "h", "value": "AA==", "type": "base64"}],
    }  # fmt: skip
    short = {"key": "h2", "value": {"id": 2}, "headers": {"g": "x"}}
    lines = "\n".join(json.dumps(each) for each in (record, short, {"value": 3}))
    done = shop("invoke", "echo", "echo.py", "-e", "-", "-o", "jsonl", stdin=lines)
    assert [json.loads(line)["returned"] for line in done.stdout.splitlines()] == [
        [{"id": 1}, "b'h1'", "h", "elsewhere/2/41"],
        [{"id": 2}, "b'h2'", "g", "orders/0/1"],
        [{"value": 3}, "None", None, "orders/0/2"],
    ]
    as_value = shop("invoke", "echo", "echo.py", "-e", "-", "--values", "--json", stdin=json.dumps(short))
    assert as_value.json[0]["returned"][0] == short


def test_a_batch_function_is_handed_a_batch(shop: Any) -> None:
    """All events go in one invocation, and those that it names are the ones that failed."""
    done = shop("invoke", "many", "-e", "-", "--json", stdin='{"id": 1}\n{"id": 2}\n{"id": 3}')
    assert len(done.json) == 1
    assert outcomes(done) == [("done", None), ("retry", "EventFailed"), ("done", None)]


def test_a_function_that_takes_too_long_is_not_waited_for(shop: Any) -> None:
    """Past its time the attempt has failed, and the command ends though the function's thread can't be stopped."""
    began = time.monotonic()
    done = shop("invoke", "slow", "-e", "-", "--json", stdin='{"seconds": 30}')
    assert (done.code, outcomes(done)) == (1, [("given_up", "attempts")])
    assert time.monotonic() - began < 15


def test_a_real_event_is_taken_and_nothing_is_left_behind(shop: Any) -> None:
    """--from reads the broker; afterwards there is no commit, no result and no dead letter."""
    shop("send", "orders", "-", "--partitions", "1", stdin='{"id": 1}\n{"id": 7}\n{"id": 8}\n')
    before = shop("streams", "list", "--json").json
    done = shop("invoke", "handle", "--from", "orders/0@1", "--count", "5", "--json")
    assert [(each["events"][0]["event"], each["events"][0]["outcome"]) for each in done.json] == [
        ("orders/0@1", "done"),
        ("orders/0@2", "done"),
    ]
    assert shop("invoke", "handle", "--from", "orders/0@0").code == 1
    assert shop("streams", "list", "--json").json == before
    ran = shop("run", "app.py", "--only", "handle", "--until-caught-up", "--json")
    # What the function prints comes before it.
    assert json.loads(ran.stdout[ran.stdout.index("{") :])["functions"][0]["consumed"] == 3


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("nothing", "-e", "-"), "{}", "there is no function nothing"),
        (("hande", "-e", "-"), "{}", "did you mean handle"),
        (("handle",), "", "give events with -e"),
        (("handle", "-e", "-", "--from", "orders/0@0"), "{}", "give events with -e"),
        (("handle", "-e", "-"), "\n\n", "no event"),
        (("handle", "--from", "orders"), "", "STREAM/PARTITION@OFFSET"),
    ],
)
def test_what_was_not_understood(shop: Any, words: tuple[str, ...], stdin: str, said: str) -> None:
    """A wrong name, missing events and a wrong place are usage errors that say what to write."""
    done = shop("invoke", *words, stdin=stdin)
    assert (done.code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("-e", "-"), '{"id": 1}\n{"id": }', "line 2 is not JSON"),
        (("-e", "-", "--records"), '{"id": 1}', "line 1 is not a record"),
        (("--from", "orders/0@0"), "", "there is no log"),
    ],
)
def test_what_cannot_be_read(shop: Any, words: tuple[str, ...], stdin: str, said: str) -> None:
    """A line that is no event, and a log that is not there, end with 1 before anything runs."""
    done = shop("invoke", "handle", *words, stdin=stdin)
    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_offset_that_the_log_does_not_hold(shop: Any) -> None:
    """The end of the log and past it are errors that name the command which shows what there is."""
    shop("send", "orders", "-", "--partitions", "1", stdin='{"id": 1}\n')
    for offset in (1, 9):
        done = shop("invoke", "handle", "--from", f"orders/0@{offset}")
        assert done.code == 1
        assert "dispatch streams show orders" in done.stderr
