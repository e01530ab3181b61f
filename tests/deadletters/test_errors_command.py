"""``dispatch errors``, on a real embedded log."""

from __future__ import annotations

import json
from typing import Any

APP = """
import pathlib
from pydantic import BaseModel
from bindings import Event, Reject, Retry, on_stream

class Sale(BaseModel):
    total: float

def price(order: dict) -> int:
    if order["id"] % 2:
        raise Reject(f"no {order['id']}")
    raise ValueError(f"order {order['id']} is odd")

@on_stream("orders", retry=Retry(max_attempts=1))
async def handle(order: Event[dict]) -> None:
    if order.value["id"] % 5 == 0 and not pathlib.Path("mended").exists():
        price(order.value)

@on_stream("orders", retry=Retry(max_attempts=1))
async def count(order: Sale) -> None: ...
"""


def shop(dispatch: Any, first: int = 0, count: int = 20) -> None:
    """Orders: every fifth fails in ``handle`` in one of two ways, and each in ``count``, which takes something else."""
    dispatch.write("app.py", APP)
    lines = "".join(json.dumps({"id": number}) + "\n" for number in range(first, first + count))
    sent = dispatch("send", "orders", "-", "--partitions", "2", stdin=lines)
    assert sent.code == 0, sent.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 1


def listed(dispatch: Any, *words: str) -> dict[tuple[str, str], Any]:
    """What the list has, by function and error type."""
    found = dispatch("errors", "list", "app.py", "--json", *words)
    assert found.code == 0, found.stderr
    return {(each["function"], each["error_type"]): each for each in found.json}


def test_errors_are_listed_by_their_cause(dispatch: Any) -> None:
    """Twenty-four letters are three errors, each with its place, its count, a sample, and the command that redrives its letters alone."""
    shop(dispatch)
    found = listed(dispatch)
    assert {key: (each["letters"], each["open"], each["state"]) for key, each in found.items()} == {
        ("handle", "Reject"): (2, 2, "open"),
        ("handle", "ValueError"): (2, 2, "open"),
        ("count", "pydantic_core.ValidationError"): (20, 20, "open"),
    }
    one = found["handle", "ValueError"]
    assert one["place"] == "app.py:price"
    assert one["sample"]["error_message"].startswith("order ")
    assert one["sample"]["event"]["value"]["id"] in (0, 10)
    assert one["first_seen_ms"] <= one["last_seen_ms"]
    assert found["count", "pydantic_core.ValidationError"]["place"] is None
    assert [*listed(dispatch, "--only", "count")] == [("count", "pydantic_core.ValidationError")]

    shown = dispatch("errors", "show", one["error"][:6], "app.py")
    assert shown.code == 0, shown.stderr
    for part in ("app.py:price", "order <n> is odd", "attempts 2", "2 to deal with", '"id": '):
        assert part in shown.stdout, part
    [line] = [line for line in shown.stderr.splitlines() if "dlq redrive" in line]
    words = line.split("dispatch ")[1].split()
    dry = dispatch(*words, "--dry-run", "--json")
    assert (dry.json["redriven"], [each["error_type"] for each in dry.json["reasons"]]) == (2, ["ValueError"])
    assert dispatch("errors", "show", "ffff", "app.py").code == 2


def test_what_is_said_of_an_error_holds_until_it_comes_again(dispatch: Any) -> None:
    """Resolved is hidden until another letter is written, ignored for good; both with who, when and why, and both are taken back."""
    shop(dispatch)
    found = listed(dispatch)
    rejected, odd = found["handle", "Reject"]["error"], found["handle", "ValueError"]["error"]
    assert dispatch("errors", "resolve", rejected, "app.py", "--why", "deployed 1.2").code == 0
    assert dispatch("errors", "ignore", odd, "app.py", "--why", "known").code == 0
    assert [function for function, _ in listed(dispatch)] == ["count"]
    said = listed(dispatch, "--all")["handle", "Reject"]["said"]
    assert (said["said"], said["why"], "@" in said["by"], said["at_ms"] > 0) == ("resolved", "deployed 1.2", True, True)
    audit = (dispatch.folder / ".dispatch" / "audit.jsonl").read_text()
    assert "errors resolved" in audit
    assert "known" in audit

    shop(dispatch, first=20)
    again = listed(dispatch)
    assert again["handle", "Reject"]["state"] == "returned"
    assert ("handle", "ValueError") not in again
    assert dispatch("errors", "reopen", odd, "app.py").code == 0
    assert listed(dispatch)["handle", "ValueError"]["state"] == "open"


def test_an_error_whose_letters_are_dealt_with_is_cleared(dispatch: Any) -> None:
    """Its letters sent back, it is not listed any more, and --all says why."""
    shop(dispatch)
    dispatch.write("mended", "")
    error = listed(dispatch)["handle", "Reject"]["error"]
    done = dispatch("dlq", "redrive", "handle", "app.py", "--fingerprint", error[:8], "--yes", "--json")
    assert (done.code, done.json["redriven"]) == (0, 2), done.stderr
    assert ("handle", "Reject") not in listed(dispatch)
    assert listed(dispatch, "--all")["handle", "Reject"]["state"] == "cleared"
    assert listed(dispatch)["handle", "ValueError"]["open"] == 2


def test_no_code_and_no_letters(dispatch: Any) -> None:
    """The topic alone is enough; where nothing failed there is nothing, and no error of ours."""
    shop(dispatch)
    named = dispatch("errors", "list", "--stream", "orders.handle.dead", "--only", "handle", "--app", "shop", "--json")
    assert sorted(each["letters"] for each in named.json) == [2, 2], named.stderr
    assert dispatch("errors", "list", "--stream", "orders.handle.dead").code == 2
    empty = dispatch("errors", "list", "app.py", "--since", "2999-01-01T00:00:00Z", "--json")
    assert (empty.code, empty.json) == (0, [])
