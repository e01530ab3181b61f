"""Dead letters that would come back: refused before anything is delivered. One function alone: tests/bindings/test_decorator.py."""

from __future__ import annotations

from typing import Any

import pytest

CYCLE = """
from bindings import Retry, on_stream

@on_stream("orders", dead_letter="failed.orders", retry=Retry(max_attempts=1))
def first(order: dict) -> None:
    raise ValueError

@on_stream("failed.orders", dead_letter="{second}", retry=Retry(max_attempts=1))
def second(order: dict) -> None:
    raise ValueError
"""


@pytest.mark.parametrize("only", [(), ("--only", "first")], ids=["all", "one of them"])
def test_a_cycle_of_dead_letters_is_refused(dispatch: Any, only: tuple[str, ...]) -> None:
    """Two functions that would send an event round for ever do not start, though only one of them is to run here, and the
    message names the stream and the way back."""
    dispatch.write("app.py", CYCLE.format(second="orders"))
    dispatch("send", "orders", "-", stdin="{}\n")
    run = dispatch("run", "app.py", "--until-caught-up", *only)
    assert run.code == 1
    assert "its dead letters go to failed.orders, and come back to it by second" in run.stderr
    assert "Traceback" not in run.stderr
    assert "failed.orders" not in dispatch("streams", "list").stdout


def test_a_cycle_made_by_configuration_is_refused(dispatch: Any) -> None:
    """The same when a setting closes it, and not the code."""
    dispatch.write("app.py", CYCLE.format(second="failed.twice"))
    dispatch("send", "orders", "-", stdin="{}\n")
    run = dispatch("run", "app.py", "--until-caught-up", DISPATCH_FUNCTIONS__SECOND__DEAD_LETTER="orders")
    assert run.code == 1
    assert "come back to it by second" in run.stderr


def test_a_chain_of_dead_letters_that_ends_runs(dispatch: Any) -> None:
    """The control: a function may consume another's dead letters, when its own go further."""
    dispatch.write("app.py", CYCLE.format(second="failed.twice"))
    dispatch("send", "orders", "-", stdin="{}\n")
    run = dispatch("run", "app.py", "--only", "first", "--until-caught-up", "-o", "json")
    assert run.code == 1
    assert [counts["dead_lettered"] for counts in run.json["functions"]] == [1], run.stderr
