"""``dispatch run``: to the end, until stopped, and with its dead letters in sight."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

COUNT = """
from bindings import Reject, Retry, on_stream

class Unavailable(Exception): ...

seen = {}

@on_stream("orders", emits="results", retry=Retry(max_attempts=3, initial=0.01), where="value.id < 100")
async def handle(order: dict) -> dict:
    seen[order["id"]] = seen.get(order["id"], 0) + 1
    if order["id"] % 10 == 3 and seen[order["id"]] == 1:
        raise Unavailable("come back")
    if order["id"] % 10 == 7:
        raise Reject("seven")
    return {"id": order["id"]}
"""

#: Takes an event, says so, and holds it until it is let go.
HOLD = """
import asyncio, pathlib
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    pathlib.Path("started").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    with open("handled", "a") as file:
        file.write(f"{order['id']}\\n")
"""


def orders(numbers: range) -> str:
    """JSON lines with these ids."""
    return "".join(json.dumps({"id": number}) + "\n" for number in numbers)


def test_until_caught_up_brings_every_event_to_one_end_and_tells_each(dispatch: Any) -> None:
    """Results, retries, filtered events and dead letters add up to what was consumed, and dead letters exit 1."""
    dispatch.write("app.py", COUNT)
    dispatch("send", "orders", "-", "--key", "id", stdin=orders(range(120)))
    done = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert done.code == 1
    [function] = done.json["functions"]
    assert function["consumed"] == 120
    assert (function["done"], function["filtered"], function["dead_lettered"]) == (90, 20, 10)
    assert (function["retried"], function["emitted"], function["unfinished"]) == (10, 90, 0)
    assert function["group"] == "shop.handle"
    assert "10 dead letters of handle" in done.stderr
    assert "dispatch dlq list handle app.py" in done.stderr
    dead = dispatch("streams", "tail", "orders.handle.dead", "--no-follow", "--json").stdout.splitlines()
    assert sorted(json.loads(line)["value"]["id"] for line in dead) == list(range(7, 100, 10))


def test_the_summary_adds_up_to_the_eye(dispatch: Any) -> None:
    """The table's numbers read as an equation: consumed = done + filtered + dead letters."""
    dispatch.write("app.py", COUNT)
    dispatch("send", "orders", "-", stdin=orders(range(120)))
    lines = dispatch("run", "app.py", "--until-caught-up").stderr.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("function"))
    assert lines[at].split("  ")[0] == "function"
    assert [word for word in lines[at].split() if word in "=+"] == ["=", "+", "+"]
    name, consumed, *ends = lines[at + 1].split()[:5]
    assert name == "handle"
    assert int(consumed) == sum(map(int, ends)) == 120


def test_caught_up_without_dead_letters_exits_0_and_a_second_run_has_nothing_to_do(dispatch: Any) -> None:
    """Commits last: what was handled is not delivered again."""
    dispatch.write("app.py", COUNT)
    dispatch("send", "orders", "-", stdin=orders(range(5)))
    first = dispatch("run", "app.py", "--until-caught-up", "--json")
    again = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert (first.code, again.code) == (0, 0)
    assert [run.json["functions"][0]["consumed"] for run in (first, again)] == [5, 0]


def test_only_runs_the_functions_named(dispatch: Any) -> None:
    """--only leaves the others, and their consumer groups, alone."""
    dispatch.write("app.py", COUNT + '\n@on_stream("nowhere")\ndef other(e: dict) -> None: ...\n')
    dispatch("send", "orders", "-", stdin=orders(range(5)))
    done = dispatch("run", "app.py", "--only", "handle", "--until-caught-up", "--json")
    assert done.code == 0
    assert [function["function"] for function in done.json["functions"]] == ["handle"]


def test_a_missing_stream_is_named_with_the_commands_that_make_and_fill_it(dispatch: Any) -> None:
    """The run does not begin, and says which function needs what; the broker's URL is in the commands."""
    dispatch.write("app.py", COUNT)
    done = dispatch("run", "app.py", "--broker", "embedded:other dir/log.db")
    assert done.code == 1
    assert "orders, for handle" in done.stderr
    assert "dispatch streams create orders --partitions 4 --broker 'embedded:other dir/log.db'" in done.stderr


def test_one_ctrl_c_finishes_what_is_in_flight(dispatch: Any) -> None:
    """The event in hand is handled to its end and committed, the exit code is 130, and the next run does the rest."""
    dispatch.write("app.py", HOLD)
    dispatch("send", "orders", "-", "--partitions", "1", stdin=orders(range(2_000)))
    run = dispatch.start("run", "app.py")
    run.until((dispatch.folder / "started").exists, "the first event")
    run.interrupt()
    run.until(lambda: run.said("SIGINT: finishing"), "the drain")
    assert not (dispatch.folder / "handled").exists()
    (dispatch.folder / "go").touch()
    done = run.end()
    assert done.code == 130
    assert "Traceback" not in done.stderr
    handled = (dispatch.folder / "handled").read_text().split()
    assert "0" in handled
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    handled = (dispatch.folder / "handled").read_text().split()
    assert sorted(map(int, handled)) == list(range(2_000))


@pytest.mark.parametrize(
    "wait", ["await asyncio.sleep(600)", "await asyncio.to_thread(time.sleep, 600)"], ids=["task", "thread"]
)
def test_a_second_ctrl_c_stops_at_once_and_the_event_comes_again(dispatch: Any, wait: str) -> None:
    """Neither a task nor a thread that goes on holds the process, and what was in flight is not lost."""
    code = HOLD.replace("await asyncio.sleep(0.01)", wait).replace("import asyncio, ", "import asyncio, time, ")
    dispatch.write("app.py", code)
    dispatch("send", "orders", "-", stdin='{"id": 1}\n')
    run = dispatch.start("run", "app.py")
    run.until((dispatch.folder / "started").exists, "the first event")
    run.interrupt()
    run.until(lambda: run.said("finishing what is in flight"), "the drain")
    run.interrupt()
    done = run.end(15)
    assert done.code == 130
    assert "cut short" in done.stderr
    assert "Traceback" not in done.stderr
    (dispatch.folder / "go").touch()
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    assert (dispatch.folder / "handled").read_text() == "1\n"


def test_a_third_ctrl_c_ends_a_process_whose_loop_is_blocked(dispatch: Any) -> None:
    """An async function that never gives the loop back can't keep a person from ending the program."""
    dispatch.write("app.py", HOLD.replace("await asyncio.sleep(0.01)", "__import__('time').sleep(600)"))
    dispatch("send", "orders", "-", stdin='{"id": 1}\n')
    run = dispatch.start("run", "app.py")
    run.until((dispatch.folder / "started").exists, "the first event")
    deadline_presses = 0
    while run.process.poll() is None and deadline_presses < 200:
        run.interrupt()
        deadline_presses += 1
        try:
            run.process.wait(0.1)
        except subprocess.TimeoutExpired:  # still there
            continue
    assert run.process.poll() == 130


def test_sigterm_drains_and_exits_143(dispatch: Any) -> None:
    """What an orchestrator sends means the same as Ctrl-C."""
    dispatch.write("app.py", HOLD)
    dispatch("send", "orders", "-", stdin='{"id": 1}\n')
    run = dispatch.start("run", "app.py")
    run.until((dispatch.folder / "started").exists, "the first event")
    run.interrupt(signal.SIGTERM)
    run.until(lambda: run.said("SIGTERM: finishing"), "the drain")
    (dispatch.folder / "go").touch()
    assert run.end().code == 143
    assert (dispatch.folder / "handled").read_text() == "1\n"


def test_sends_from_another_process_are_delivered_while_it_runs(dispatch: Any) -> None:
    """A run without an end takes what comes, and off a terminal says how it goes in plain lines."""
    dispatch.write("app.py", COUNT)
    dispatch("streams", "create", "orders")
    run = dispatch.start("run", "app.py")
    run.until(lambda: run.said("handle: running"), "the start")
    dispatch("send", "orders", "-", stdin=orders(range(10)))
    run.until(lambda: run.said(r"done 9, .*dead letters 1"), "a line with the counts")
    run.interrupt()
    done = run.end()
    assert done.code == 130
    assert done.stdout == ""
    assert "\x1b" not in done.stderr


def test_json_logs_are_json_lines(dispatch: Any) -> None:
    """--log-format json makes each line of the log an object with the counts as fields."""
    dispatch.write("app.py", COUNT)
    dispatch("send", "orders", "-", stdin=orders(range(5)))
    done = dispatch("run", "app.py", "--until-caught-up", "--log-format", "json")
    logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    last = [entry for entry in logged if entry["logger"] == "dispatcher.report"][-1]
    assert (last["function"], last["done"], last["level"]) == ("handle", 5, "info")


def test_a_filter_that_does_not_compile_is_refused_before_anything_runs(dispatch: Any) -> None:
    """No event is taken by any function, and the message points at the place in the expression."""
    dispatch.write("app.py", COUNT + '\n@on_stream("orders", where="(")\ndef other(e: dict) -> None: ...\n')
    dispatch("send", "orders", "-", stdin=orders(range(5)))
    done = dispatch("run", "app.py", "--until-caught-up")
    assert done.code == 1
    assert "column" in done.stderr
    assert "Traceback" not in done.stderr
    assert (
        dispatch("run", "app.py", "--only", "handle", "--until-caught-up", "--json").json["functions"][0]["consumed"]
        == 5
    )


def test_what_functions_print_does_not_end_up_in_the_json(dispatch: Any) -> None:
    """With --json stdout holds the summary alone; a function's print() goes to stderr."""
    dispatch.write(
        "app.py",
        'from bindings import on_stream\n@on_stream("orders")\nasync def say(o: dict) -> None: print("hello")\n',
    )
    dispatch("send", "orders", "-", stdin=orders(range(3)))
    done = dispatch("run", "app.py", "--until-caught-up", "--json")
    assert done.json["functions"][0]["done"] == 3
    assert done.stderr.count("hello") == 3
