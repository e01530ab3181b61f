"""Functions for tests of the targets. A process imports them by name, so they stand in a module of their own."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bindings import Batch, BatchFailures, Context, Emit, Event, Reject, Retry, on_stream

STREAM, OUT = "events", "results"
TWICE = Retry(max_attempts=2, initial=0.0)

logger = logging.getLogger(__name__)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
calls = 0


class Order(BaseModel):
    """An event of more than bytes."""

    id: int
    do: str = ""


class Unpayable(Exception):
    """One of the user's own."""


# -- what a function may say: the same over every target


def say(do: str, context: Context) -> Any:
    """Do what the event asks for."""
    match do:
        case "reject":
            raise Reject("never")
        case "later":
            raise Retry.after(0.01, "busy")
        case "fail":
            raise ValueError("wrong \udcff ü")
        case "once":
            if context.attempt == 1:
                raise ConnectionError("gone")
        case "unpayable":
            raise Unpayable("no money")
        case "exit":
            sys.exit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "stop":
            raise StopIteration
        case "object":
            return object()
        case "generator":
            return (number for number in range(3))
        case "emit":
            context.emit({"said": context.event_id}, key="k", headers=(("h", b"\x00\xff"), ("h", b"")))
            return [
                Emit(b"\x00\xff", key=b"\xfe"),
                Emit(None, key=b"tombstone"),
                {"attempt": context.attempt},
                None,
                "ü",
            ]
        case "context":
            assert 0 < context.remaining() <= 60
            return {"function": context.function, "event": context.event_id, "attempt": context.attempt}
    return {"done": do}


@on_stream(STREAM, retry=Retry(max_attempts=2, initial=0.0, give_up_on=(Unpayable,)), emits=OUT)
def sync_says(order: Order, context: Context) -> Any:
    """A sync function."""
    return say(order.do, context)


@on_stream(STREAM, retry=Retry(max_attempts=2, initial=0.0, give_up_on=(Unpayable,)), emits=OUT)
async def async_says(context: Context, order: Order) -> Any:
    """An async one, that waits."""
    await asyncio.sleep(0.001)
    return say(order.do, context)


@on_stream(STREAM, retry=TWICE, batch=Batch(max_events=20, max_wait=0.2), emits=OUT)
def names_failures(orders: list[Event[Order]], context: Context) -> Any:
    """A batch that names what failed, by the event, by the index, as Lambda does, or wrongly."""
    failures: dict[Event[Any] | int, BaseException | str] = {}
    for index, event in enumerate(orders):
        match event.value.do:
            case "reject":
                failures[event] = Reject("this one")
            case "fail":
                failures[index] = "text"
            case "once":
                if context.attempt == 1:
                    failures[event] = TimeoutError("slow")
            case "poison":
                raise ValueError("one of them")
            case "wrong":
                failures[1_000] = "no such event"
            case "lambda":
                identifier = {"partition": f"{event.stream}-{event.partition}", "offset": event.offset}
                return {"batchItemFailures": [{"itemIdentifier": identifier}]}
    for event in orders:
        context.emit(event.id)
    if failures:
        raise BatchFailures(failures)
    return None


@on_stream(STREAM, retry=TWICE, emits=OUT)
def describes(event: Event[bytes | None]) -> Any:
    """Says all that it knows of its event."""
    return {
        "value": None if event.value is None else list(event.value),
        "key": None if event.key is None else list(event.key),
        "headers": [[name, None if value is None else list(value)] for name, value in event.headers],
        "id": event.id,
        "timestamp": event.timestamp_ms,
    }


@on_stream(STREAM, retry=TWICE)
async def is_silent(order: Order) -> Any:
    """Returns something and declares no stream for it."""
    return {"unheard": order.id}


# -- what only a process of its own survives


@on_stream(STREAM, retry=Retry(max_attempts=1), emits=OUT, concurrency=4)
def misbehaves(event: Event[Order], context: Context) -> Any:
    """Does what the event asks for; most of it ends its process."""
    global calls  # noqa: PLW0603
    calls += 1
    match event.value.do:
        case "spin":
            while True:
                pass
        case "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(600)
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "eat":
            held = []
            while True:
                held.append(bytearray(8 << 20))
        case "nibble":
            small = []
            while True:
                small.append(object())
        case "chain":
            chain: tuple[Any, ...] = ()
            while True:
                chain = (chain,)
        case "leak":
            leaked.append(bytearray(40 << 20))
        case "burn":
            until = time.process_time() + 30
            while time.process_time() < until:
                pass
        case "work":
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
            return {"cpu": time.process_time()}
        case "garbage":
            os.write(line_to_the_dispatcher(), b"\xff" * 1_000)
            time.sleep(600)
        case "nonsense":
            from dispatcher.invokers.process.frames import frame

            os.write(line_to_the_dispatcher(), frame(b"A", {"id": 0}))
            time.sleep(600)
        case "subprocess":
            # It has all descriptors that the function leaves it, and must not have the line.
            script = "import os, stat; print(sum(stat.S_ISSOCK(os.fstat(n).st_mode) for n in map(int, os.listdir('/dev/fd')[:-1])))"
            ran = subprocess.run([sys.executable, "-c", script], close_fds=False, capture_output=True, check=True)
            return ran.stdout.decode().strip()
        case "hang up":
            os.close(line_to_the_dispatcher())
            time.sleep(600)
        case "print":
            print("printed" * 1_000)  # noqa: T201
            os.write(1, b"\x00\x00\x00\x05hello")
            print("complained", file=sys.stderr)  # noqa: T201
        case "huge":
            return b"x" * (2 << 20)
        case "fork":
            # A child of the child that holds everything open, and outlives it.
            if os.fork() == 0:
                time.sleep(600)
            os._exit(9)
        case "start":
            return {"started": subprocess.Popen(["sleep", "600"]).pid, "pid": os.getpid()}
        case "log":
            context.logger.info("hello %s", "there", extra={"order": 7, "exc_info_": object()})
            logger.warning("from the module")
            try:
                raise LookupError("inner")
            except LookupError:
                context.logger.exception("it went wrong")
        case "log much":
            for number in range(3_000):
                logger.warning("%d", number)
        case "environment":
            return dict(os.environ)
        case "files":
            return sorted(int(path.name) for path in Path("/dev/fd").iterdir())
        case "many files":
            kept = [open("/dev/null") for _ in range(200)]  # noqa: PTH123, SIM115
            return len(kept)
    return {"pid": os.getpid(), "calls": calls, "id": event.value.id}


leaked: list[bytearray] = []


def line_to_the_dispatcher() -> int:
    """The descriptor of the one socket that this process has."""
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return number
        except OSError:
            continue
    raise LookupError("no socket")


@on_stream(STREAM, retry=Retry(max_attempts=1), emits=OUT)
async def waits(order: Order) -> Any:
    """An async function that keeps something on its loop, and sets a context variable."""
    was = variable.get()
    variable.set("set")
    if order.do == "spin":
        while True:
            pass
    if order.do == "sleep":
        await asyncio.sleep(600)
    loops.add(id(asyncio.get_running_loop()))
    return {"loops": len(loops), "variable": was, "pid": os.getpid()}


loops: set[int] = set()


@on_stream(STREAM, retry=Retry(max_attempts=1))
def marks(order: Order) -> None:
    """Leaves its process' number in a file, and never comes back."""
    Path(os.environ["PROCESS_TEST_FILE"]).write_text(json.dumps(os.getpid()))
    while True:
        pass


def undecorated(order: Order) -> Any:
    """Bound by configuration alone."""
    return {"id": order.id}
