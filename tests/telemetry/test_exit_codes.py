"""The exit codes of ``dispatch run``, by which an orchestrator decides whether to start it again."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from command_line import Dispatch

PAGE = Path(__file__).parent.parent.parent / "docs" / "operations" / "health.md"
APP = """
import time
from bindings import Reject, on_stream

@on_stream("orders")
def handle(order: dict) -> None:
    if order["n"] == 0:
        raise Reject("zero")
    while order["n"] == 1:
        time.sleep(0.1)
"""


def documented() -> dict[int, str]:
    """Each code of the page's table, and whether it is to be started again."""
    table = re.split(r"^## Exit codes$", PAGE.read_text(), flags=re.MULTILINE)[1]
    return {int(code): again for code, again in re.findall(r"^\| (\d+)[^|]*\|[^|]*\| (yes|no)", table, re.MULTILINE)}


@pytest.mark.parametrize(
    ("words", "event", "code", "again"),
    [
        (("--until-caught-up",), 2, 0, "no"),
        (("--until-caught-up",), 0, 1, "yes"),
        (("--broker", "kafka://127.0.0.1:1"), 2, 1, "yes"),
        (("--only", "nobody"), 2, 2, "no"),
    ],
    ids=["all is done", "dead letters", "no broker", "not understood"],
)
def test_an_end_has_its_code(dispatch: Dispatch, words: tuple[str, ...], event: int, code: int, again: str) -> None:
    """What has ended as it should, what may be better next time and what will never be are told apart, as the page says."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", stdin=f'{{"n": {event}}}\n')
    done = dispatch("run", "app.py", *words)
    assert done.code == code, done.stderr
    assert documented()[code] == again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_has_its_code_however_often_it_comes(dispatch: Dispatch, number: int) -> None:
    """128 and the signal: also when the second one has cut short a call that would never have ended."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", stdin='{"n": 1}\n')
    run = dispatch.start("run", "app.py")
    run.until(lambda: run.said("running 1"), "the call")
    run.interrupt(number)
    run.until(lambda: run.said("once more to stop at once"), "the word of the first")
    run.interrupt(number)
    assert run.end().code == 128 + number
    assert documented()[128 + number] == "no"
