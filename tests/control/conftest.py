"""An app whose functions can be seen at work, in real processes on either broker."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import Dispatch, Running, bytecode, dispatch

__all__ = ["bytecode", "dispatch"]

APP = """
import asyncio, json, os, pathlib
from bindings import Retry, on_stream

def note(function, what, order):
    with open("journal", "a") as file:
        file.write(json.dumps([function, what, order["id"], os.getpid()]) + "\\n")

@on_stream("STREAM", concurrency=2)
async def slow(order: dict) -> None:
    note("slow", "begin", order)
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    note("slow", "end", order)

@on_stream("STREAM")
async def other(order: dict) -> None:
    note("other", "begin", order)

@on_stream("STREAM", retry=Retry(max_attempts=3, initial=0.05, jitter="none", then="pause"))
async def strict(order: dict) -> None:
    note("strict", "begin", order)
    if order["id"] == 7 and not pathlib.Path("healed").exists():
        raise ValueError("seven is bad")
    note("strict", "end", order)
"""


class Noted(NamedTuple):
    """A line that a function has left."""

    function: str
    what: str
    id: int
    pid: int


class App:
    """The app in a folder, on one broker."""

    def __init__(self, dispatch: Dispatch, broker: str | None) -> None:
        self.dispatch = dispatch
        self.name = f"shop-{secrets.token_hex(4)}"
        self.stream = f"orders-{self.name}"
        self.sent = 0
        dispatch.environ["DISPATCH_APP"] = self.name
        dispatch.environ["DISPATCH_KAFKA__SESSION_TIMEOUT"] = "3"
        if broker is not None:
            dispatch.environ["DISPATCH_BROKER"] = broker
        dispatch.write("app.py", APP.replace("STREAM", self.stream))
        self("streams", "create", self.stream, "--partitions", "4")

    def __call__(self, *words: str, code: int = 0, **environ: str) -> Any:
        """A command that ends as it should."""
        done = self.dispatch(*words, **environ)
        assert done.code == code, (words, done)
        assert "Traceback" not in done.stderr
        return done

    def send(self, count: int) -> None:
        """Events with the next numbers, and keys of their own."""
        lines = "".join(f'{{"id": {self.sent + n}}}\n' for n in range(count))
        self.sent += count
        self("send", self.stream, "-", "--key", "id", stdin=lines)

    def start(self, count: int, *only: str) -> list[Running]:
        """That many processes."""
        words = [word for function in only for word in ("--only", function)]
        return [self.dispatch.start("run", "app.py", *words) for _ in range(count)]

    def kill(self, processes: list[Running]) -> None:
        """End them with SIGKILL."""
        for each in processes:
            each.process.kill()
            each.end()

    def journal(self, function: str, what: str = "begin", *, by: list[Running] | None = None) -> Counter[int]:
        """How often the function was at each event, in those processes alone."""
        path = Path(self.dispatch.folder / "journal")
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        noted = [Noted(*json.loads(line)) for line in lines if line.endswith("\n")]
        pids = None if by is None else {each.process.pid for each in by}
        return Counter(
            each.id
            for each in noted
            if (each.function, each.what) == (function, what) and (pids is None or each.pid in pids)
        )

    def status(self, function: str) -> Any:
        """What `dispatch status` says of a function."""
        return next(each for each in self("status", "app.py", "--json").json if each["function"] == function)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def app(request: pytest.FixtureRequest, dispatch: Dispatch) -> App:
    """The app, on each broker in turn."""
    if request.param == "embedded":
        return App(dispatch, None)
    return App(dispatch, f"kafka://{request.getfixturevalue('kafka_bootstrap')}")


@pytest.fixture
def embedded_app(dispatch: Dispatch) -> App:
    """The app on an embedded log, for what is the same on either."""
    return App(dispatch, None)
