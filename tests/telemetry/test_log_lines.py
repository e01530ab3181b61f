"""The log of a real process: a line an outcome that matters, with fields for a collector, and nothing of an event's content."""

from __future__ import annotations

import json
from typing import Any

from command_line import Dispatch
from scraping import lines_of

APP = """
from bindings import Reject, Retry, on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    if order["id"] == 3:
        raise Reject("not this one")

@on_stream("orders", retry=Retry(max_attempts=1, then="drop"))
async def drop(order: dict) -> None:
    if order["id"] == 4:
        raise ValueError("gone\\n2026-01-01 ERROR forged: line")
"""
STRUCTURED = """
import structlog
from bindings import on_stream

log = structlog.get_logger()

def say(order: int, **fields: object) -> None:
    with structlog.contextvars.bound_contextvars(customer="c7"):
        bound = log.bind(order=order)
        bound.debug("not at this level")
        bound.info("priced %s", "well", **fields)
        try:
            raise ValueError("no rate\\n2026-01-01 ERROR forged: line")
        except ValueError:
            bound.exception("not priced")

@on_stream("orders")
async def handle(order: dict) -> None:
    say(order["id"], name="n", level="critical", rate=float("nan"), note=order["note"])

@on_stream("orders")
def apart(order: dict) -> None:
    say(order["id"])
"""
SECRET = "4111-1111-1111-1111"


def test_json_lines_have_fields_and_no_payload(dispatch: Dispatch) -> None:
    """Each line is one JSON object; the dead letter's and the drop's tell function, coordinates, error and attempts as fields;
    neither keys nor values are in any of them, and a line break in an error makes no line."""
    dispatch.write("app.py", APP)
    dispatch(
        "send", "orders", "-", "--key", "card", stdin=lines_of({"id": n, "card": f"{SECRET}-{n}"} for n in range(6))
    )
    done = dispatch("run", "app.py", "--until-caught-up", "--log-format", "json", "--log-level", "debug")
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert SECRET not in done.stderr
    [dead] = [line for line in lines if "is a dead letter" in line["message"]]
    assert dead["level"] == "warning"
    assert {name: dead[name] for name in ("function", "stream", "error_type", "attempts", "reason")} == {
        "function": "handle",
        "stream": "orders",
        "error_type": "Reject",
        "attempts": 1,
        "reason": "rejected",
    }
    assert f"orders/{dead['partition']}@{dead['offset']}" in dead["message"]
    [dropped] = [line for line in lines if "is dropped" in line["message"]]
    assert (dropped["function"], dropped["error_type"], dropped["attempts"]) == ("drop", "ValueError", 1)
    assert "forged" in dropped["message"]
    assert not any(line.get("message", "").startswith("line") or "forged" in line["logger"] for line in lines)


def test_text_lines_can_not_be_forged(dispatch: Dispatch) -> None:
    """The same for people: what an error brings stays in the line of that error, its line break shown as an escape."""
    dispatch.write("app.py", APP)
    dispatch(
        "send", "orders", "-", "--key", "card", stdin=lines_of({"id": n, "card": f"{SECRET}-{n}"} for n in range(6))
    )
    done = dispatch("run", "app.py", "--until-caught-up")
    assert SECRET not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if "is dropped" in line]
    assert r"gone\n2026-01-01 ERROR forged: line" in line
    assert not any(line.startswith("2026-01-01") for line in done.stderr.splitlines())


def test_what_a_function_says_by_structlog_is_a_line_like_others(dispatch: Dispatch) -> None:
    """Its own code's structlog, with nothing configured: a line with time, level, logger, message, what is bound and the
    context variables, and the traceback; from a process of the function's own too. None of it makes a line or replaces a fact."""
    dispatch.write("app.py", STRUCTURED)
    dispatch.write("dispatch.toml", '[functions.apart]\ntarget = "process"\n')
    note = "\n2026-01-01 ERROR forged: line\x1b[2J"
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 7, "note": note}]))
    done = dispatch("run", "app.py", "--until-caught-up", "--log-format", "json")
    assert done.code == 0, done.stderr
    assert "not at this level" not in done.stdout + done.stderr
    lines = [json.loads(line, parse_constant=str) for line in done.stderr.splitlines() if '"logger": "app"' in line]
    [priced, _] = sorted((line for line in lines if line["message"] == "priced well"), key=len, reverse=True)
    assert priced.pop("time")[:2] == "20"
    assert priced == {
        "level": "info",
        "logger": "app",
        "message": "priced well",
        "order": 7,
        "customer": "c7",
        "name": "n",
        "rate": "nan",
        "note": note,
    }
    failed = [line for line in lines if line["message"].startswith("not priced")]
    assert [(line["level"], line["order"], line["customer"]) for line in failed] == [("error", 7, "c7")] * 2
    assert all("ValueError: no rate" in line.get("traceback", line["message"]) for line in failed)

    dispatch("send", "orders", "-", stdin=lines_of([{"id": 8, "note": note}]))
    shown = dispatch("run", "app.py", "--only", "handle", "--until-caught-up").stderr
    [line] = [line for line in shown.splitlines() if "priced well" in line]
    assert " INFO    app: priced well order=8 name='n' " in line
    assert r"note='\n2026-01-01 ERROR forged: line\x1b[2J'" in line
    assert line.endswith(" customer='c7'")
    assert not any(line.startswith("2026-01-01") for line in shown.splitlines())
