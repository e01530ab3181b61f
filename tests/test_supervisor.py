"""The supervisor, with real processes: small scripts that write down what happens to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher import supervisor
from dispatcher.supervisor import Supervisor

# Writes "start PID", then runs until SIGTERM, which it answers with "drained PID" and exit code 0.
WORKER = """
import os, pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
def say(what):
    with path.open("a") as file:
        file.write(f"{what} {os.getpid()}\\n")
def drain(*_):
    say("drained")
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
signal.signal(signal.SIGINT, drain)
say("start")
print("a line of the worker", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """The file that the workers write to."""
    path = tmp_path / "said"
    path.touch()
    return path


def lines(said: Path, what: str) -> list[int]:
    """The process ids that said it."""
    return [int(line.split()[1]) for line in said.read_text().splitlines() if line.startswith(f"{what} ")]


async def until(condition: object, seconds: float = 20.0) -> None:
    """Return once the callable is true; fail when that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_dead_process_is_started_anew(said: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After kill -9 of one of two processes: another takes its place, the other one is left alone, and the log says how it ended."""
    running = asyncio.create_task(Supervisor([sys.executable, "-c", WORKER, str(said)], count=2).run())
    await until(lambda: len(lines(said, "start")) == 2)
    first, second = lines(said, "start")
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(lines(said, "start")) == 3)
    assert is_alive(second)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 128 + signal.SIGTERM
    assert sorted(lines(said, "drained")) == sorted(lines(said, "start")[1:])
    assert "worker 1 | a line of the worker" in capfd.readouterr().err


async def test_starts_that_fail_at_once_are_spaced(said: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process that ends at once is started again after 0.5 s, then 1 s: it does not spin."""
    failing = f"open({str(said)!r}, 'a').write('start 1\\n'); raise SystemExit(3)"
    running = asyncio.create_task(Supervisor([sys.executable, "-c", failing], count=1).run())
    began = time.monotonic()
    await until(lambda: len(lines(said, "start")) == 3)
    assert time.monotonic() - began >= 1.5
    os.kill(os.getpid(), signal.SIGINT)
    assert await running == 128 + signal.SIGINT
    assert "exit code 3" in caplog.text


async def test_a_wrong_call_is_not_repeated(said: Path) -> None:
    """Exit code 2 says that the call was wrong: all end, with that code."""
    script = f"open({str(said)!r}, 'a').write('start 1\\n'); raise SystemExit(2)"
    assert await Supervisor([sys.executable, "-c", script], count=2).run() == 2
    assert len(lines(said, "start")) <= 2


async def test_what_ends_by_itself_is_finished() -> None:
    """With --until-caught-up an exit with 0 or 1 is an end, and the whole exits with the worst of them."""
    assert await Supervisor([sys.executable, "-c", ""], count=2, ends_by_itself=True).run() == 0
    assert await Supervisor([sys.executable, "-c", "raise SystemExit(1)"], count=2, ends_by_itself=True).run() == 1


async def test_a_second_signal_is_passed_on_too(said: Path) -> None:
    """Processes that do not end at the first signal get the second, and at the third they are killed."""
    stubborn = WORKER.replace('    say("drained")\n    sys.exit(0)', '    say("heard")')
    running = asyncio.create_task(Supervisor([sys.executable, "-c", stubborn, str(said)], count=1).run())
    await until(lambda: lines(said, "start"))
    for heard in (1, 2):
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda heard=heard: len(lines(said, "heard")) == heard)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    await until(lambda: not is_alive(lines(said, "start")[0]))


class Edits:
    """Stands where watchfiles does: the test says when a file was saved."""

    def __init__(self) -> None:
        self.saved: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[None]:
        while True:
            yield await self.saved.get()


async def test_changed_code_takes_over_after_a_drain(said: Path) -> None:
    """A change ends the processes in an orderly way, and others start at once, without a backoff."""
    edits = Edits()
    supervised = Supervisor(
        [sys.executable, "-c", WORKER, str(said)], count=2, check=[sys.executable, "-c", ""], changes=edits
    )
    running = asyncio.create_task(supervised.run())
    await until(lambda: len(lines(said, "start")) == 2)
    edits.saved.put_nowait(None)
    await until(lambda: len(lines(said, "start")) == 4, supervisor._FIRST_WAIT * 20)
    assert sorted(lines(said, "drained")) == sorted(lines(said, "start")[:2])
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_code_that_does_not_import_leaves_the_old_at_work(
    said: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A typo in a saved file stops nothing: the error is shown, the running code goes on, and the next save is tried."""
    edits = Edits()
    broken = said.parent / "broken.py"
    broken.write_text("def f(:\n")
    supervised = Supervisor(
        [sys.executable, "-c", WORKER, str(said)], count=1, check=[sys.executable, str(broken)], changes=edits
    )
    running = asyncio.create_task(supervised.run())
    await until(lambda: lines(said, "start"))
    edits.saved.put_nowait(None)
    await until(lambda: "the code from before goes on" in caplog.text)
    assert "SyntaxError" in capfd.readouterr().err
    assert lines(said, "drained") == []
    broken.write_text("")
    edits.saved.put_nowait(None)
    await until(lambda: len(lines(said, "start")) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_processes_outlive_no_supervisor(said: Path) -> None:
    """A worker finds its lifeline at its end once the supervisor was killed: ``dispatch run`` then drains."""
    child = """
import os, sys
def say(what):
    with open(sys.argv[1], "a") as file:
        file.write(f"{what} 1\\n")
say("start")
os.read(int(os.environ["DISPATCH_LIFELINE_FD"]), 1)
say("drained")
"""
    parent = (
        "import asyncio, sys\n"
        "from dispatcher.supervisor import Supervisor\n"
        f"asyncio.run(Supervisor([sys.executable, '-c', {child!r}, sys.argv[1]], count=1).run())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, str(said))
    await until(lambda: lines(said, "start"))
    process.kill()
    await process.wait()
    await until(lambda: lines(said, "drained"))


async def test_each_process_has_variables_of_its_own(said: Path) -> None:
    """What tells the processes apart, a static Kafka identity for one, is handed to each by its number."""
    script = f"import os; open({str(said)!r}, 'a').write('is ' + os.environ['NUMBER'] + '\\n')"
    supervised = Supervisor(
        [sys.executable, "-c", script], count=3, ends_by_itself=True, environ=lambda number: {"NUMBER": str(number)}
    )
    assert await supervised.run() == 0
    assert sorted(lines(said, "is")) == [1, 2, 3]
