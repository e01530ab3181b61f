"""How processes begin, stay and end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import process_fragile
import process_functions as functions
import pytest
from stage import PATIENCE, Stage, binding_of, is_running, order, until

from bindings import Retry, on_stream
from bindings.envelopes.record import WireRecord
from bindings.invocation import Received
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.process import ProcessInvoker, ProcessLimits
from dispatcher.invokers.process.limits import MEBIBYTE

ONE = ProcessLimits(processes=1)
HERE = Path(__file__).parent

limits_memory = pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not hold a process to its limit")


async def test_a_process_stays_warm(stage: Stage) -> None:
    """Many invocations run in one process: what its module keeps is there at the next."""
    await stage.send(order(id_) for id_ in range(200))
    came = await stage.run(functions.misbehaves, ONE)
    assert len({value["pid"] for value in came.values}) == 1
    assert [value["calls"] for value in came.values] == list(range(1, 201))
    assert os.getpid() not in came.pids


async def test_an_async_function_keeps_its_loop_and_not_its_context(stage: Stage) -> None:
    """The invocations of one process share an event loop, as clients that are opened once need; a context variable
    that one sets is unset in the next."""
    await stage.send(order(id_) for id_ in range(20))
    came = await stage.run(functions.waits, ONE)
    assert {(value["loops"], value["variable"]) for value in came.values} == {(1, "unset")}


async def test_processes_are_started_when_there_is_work_for_them(stage: Stage) -> None:
    """One key at a time takes one process, however many there may be; events of many keys take as many as may be,
    and no more."""
    binding = binding_of(functions.misbehaves)
    await stage.send([])
    invoker = ProcessInvoker(binding, limits=ProcessLimits(processes=3))
    worker = stage.worker(binding, invoker, ends=False)
    assert invoker.pids == ()
    task = asyncio.create_task(worker.run())
    try:
        for number in range(1, 4):
            await stage.send([order(number)])
            await until(lambda number=number: worker.statistics().done == number, "one event after another")
        assert len(invoker.pids) == 1
        await stage.send(order(id_, "work") for id_ in range(9))
        await until(lambda: worker.statistics().done == 12, "all of them")
        assert len(invoker.pids) == 3
        assert worker.statistics().invocations == 12
    finally:
        worker.stop()
        pids = invoker.pids
        await asyncio.wait_for(task, PATIENCE)
    assert not any(is_running(pid) for pid in pids)


async def test_no_more_run_at_once_than_the_function_lets(stage: Stage) -> None:
    """With a concurrency below the number of processes that there may be, there are only as many processes."""
    await stage.send(order(id_, "work") for id_ in range(6))
    came = await stage.run(functions.misbehaves, ProcessLimits(processes=8), concurrency=2)
    assert came.statistics.done == 6
    assert len(came.pids) == 2


async def test_an_idle_process_that_dies_is_replaced(stage: Stage) -> None:
    """A process that somebody kills while it waits costs no event an attempt."""
    await stage.send([])
    binding = binding_of(functions.misbehaves)
    invoker = ProcessInvoker(binding, limits=ONE)
    worker = stage.worker(binding, invoker, ends=False)
    task = asyncio.create_task(worker.run())
    try:
        await stage.send([order(1)])
        await until(lambda: worker.statistics().done == 1, "the first")
        (pid,) = invoker.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: invoker.pids == (), "its end to be noticed")
        await stage.send([order(2)])
        await until(lambda: worker.statistics().done == 2, "the second")
        assert worker.statistics().retried == worker.statistics().dead_lettered == 0
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)


async def test_a_worker_that_stops_ends_what_still_runs(stage: Stage) -> None:
    """An invocation that outlasts the drain is killed with its process; its event is not done and not failed."""
    await stage.send([order(1, "spin"), order(2)])
    binding = binding_of(functions.misbehaves)
    invoker = ProcessInvoker(binding, limits=ProcessLimits(processes=2))
    worker = stage.worker(binding, invoker, ends=False)
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.statistics().done == 1, "the other event")
    pids = invoker.pids
    worker.stop()
    await asyncio.wait_for(task, PATIENCE)
    assert pids
    assert not any(is_running(pid) for pid in pids)
    assert invoker.pids == ()
    assert (worker.statistics().done, worker.statistics().retried, worker.statistics().dead_lettered) == (1, 0, 0)


def children() -> set[str]:
    """The processes that this one has, of whatever test."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads a process' children from /proc")
@pytest.mark.parametrize("turns", [1, 2, 5, 20, 50])
async def test_a_start_that_is_cancelled_leaves_no_process(turns: int) -> None:
    """An invocation that is cancelled while its process starts, at whatever point of it, leaves none behind."""
    before = children()
    invoker = ProcessInvoker(binding_of(functions.waits), limits=ONE)
    batch = [Received(WireRecord("events", 0, 0, 0, None, order(1), ()), 0)]
    invocation = asyncio.create_task(invoker.invoke(batch))
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    invocation.cancel()
    await asyncio.wait([invocation])
    await invoker.close()
    assert invoker.pids == ()
    assert children() <= before


@pytest.mark.parametrize("how", ["busy", "idle"])
async def test_a_dispatcher_that_is_killed_leaves_no_process(how: str, tmp_path: Path) -> None:
    """When the dispatcher is killed with SIGKILL, its functions' processes end, in an endless loop or idle."""
    marked = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent.parent}", "PROCESS_TEST_FILE": str(marked)}
    script = [sys.executable, str(HERE / "process_parent.py"), how]
    with subprocess.Popen(script, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert is_running(pid)
        parent.kill()
    await until(lambda: not is_running(pid), "the orphan to end", patience=10)


async def test_what_a_function_prints_harms_nothing(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """print() and writes to the standard output go to the dispatcher's standard error, none to its standard output."""
    await stage.send([order(1, "print"), order(2)])
    came = await stage.run(functions.misbehaves, ONE)
    assert came.statistics.done == 2
    out, err = capfd.readouterr()
    assert "printed" * 1_000 in err
    assert "complained" in err
    assert out == ""


async def test_secrets_are_not_passed_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function's process has the harmless variables of the environment and those named for it; no other one of
    the dispatcher's, and none of its arguments."""
    monkeypatch.setenv("DISPATCH_BROKER", "kafka://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("API_TOKEN", "named")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    await stage.send([order(1, "environment")])
    came = await stage.run(functions.misbehaves, ProcessLimits(processes=1, environment=("API_TOKEN",)))
    (seen,) = came.values
    assert seen["API_TOKEN"] == "named"
    assert seen["LC_ALL"] == "C.UTF-8"
    assert seen["PATH"] == os.environ["PATH"]
    assert not {"DISPATCH_BROKER", "AWS_SECRET_ACCESS_KEY"} & seen.keys()
    assert "secret" not in "".join(seen.values())


async def test_open_files_are_not_passed_on(stage: Stage) -> None:
    """A descriptor that the dispatcher holds open, and marked to be inherited, is closed in the function's process."""
    read, write = os.pipe()
    try:
        os.dup2(read, 150, inheritable=True)
        await stage.send([order(1, "files")])
        came = await stage.run(functions.misbehaves, ONE)
    finally:
        for number in (read, write, 150):
            os.close(number)
    (numbers,) = [came.results[0].value]
    assert numbers is not None
    assert b"150" not in numbers


async def test_the_line_to_the_dispatcher_is_the_process_own(stage: Stage) -> None:
    """A program that a function starts, even with all descriptors, does not have the socket to the dispatcher."""
    await stage.send([order(1, "subprocess")])
    came = await stage.run(functions.misbehaves, ONE)
    assert came.values == [0]


async def test_what_a_function_logs_is_logged_here(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The context's logger and a module's own reach the dispatcher's handlers with level, name, fields and traceback;
    what is below the level stays where it is."""
    caplog.set_level(logging.INFO)
    await stage.send([order(1, "log")])
    await stage.run(functions.misbehaves, ONE)
    told = [record for record in caplog.records if record.name in ("functions.misbehaves", "process_functions")]
    assert [(record.levelname, record.name) for record in told] == [
        ("INFO", "functions.misbehaves"),
        ("WARNING", "process_functions"),
        ("ERROR", "functions.misbehaves"),
    ]
    assert told[0].getMessage() == "hello there"
    facts = vars(told[0])
    assert (facts["function"], facts["event_id"], facts["attempt"], facts["order"]) == (
        "misbehaves",
        "events/0/0",
        1,
        7,
    )
    assert "LookupError: inner" in told[2].getMessage()


async def test_a_flood_of_log_records_is_bounded(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Of 3,000 records of one invocation 1,000 come, and the next one says how many did not."""
    await stage.send([order(1, "log much"), order(2)])
    came = await stage.run(functions.misbehaves, ONE)
    assert came.statistics.done == 2
    assert sum(record.name == "process_functions" for record in caplog.records) == 1_000
    assert "2,000 more log records were left out" in caplog.messages


class Fragile:
    """Decides what the import of ``process_fragile`` does in a process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.limits = ProcessLimits(processes=2, environment=("PROCESS_TEST_FILE",), start_timeout=5.0)


@pytest.fixture
def fragile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fragile:
    """The module's file, which is not there at first."""
    monkeypatch.setenv("PROCESS_TEST_FILE", str(tmp_path / "import.py"))
    return Fragile(tmp_path / "import.py")


async def test_a_broken_import_costs_no_attempt_and_does_not_spin(
    stage: Stage, fragile: Fragile, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the function can't be imported its events wait, none of their attempts used; the problem is logged with its
    place, at growing intervals; once it is mended all are handled."""
    fragile.file.write_text("raise RuntimeError('the model is missing')")
    binding = binding_of(process_fragile.handles)
    invoker = ProcessInvoker(binding, limits=fragile.limits)
    worker = stage.worker(binding, invoker, ends=False)
    await stage.send(order(id_) for id_ in range(10))
    task = asyncio.create_task(worker.run())

    def problems() -> list[str]:
        return [record.getMessage() for record in caplog.records if "can't start" in record.getMessage()]

    try:
        await until(lambda: len(problems()) == 2, "the second look")
        assert "again in 0.5 s" in problems()[0]
        assert "again in 1 s" in problems()[1]
        assert all("RuntimeError: the model is missing" in problem for problem in problems())
        fragile.file.unlink()
        await until(lambda: worker.statistics().done == 10, "all events")
        assert worker.statistics().dead_lettered == worker.statistics().retried == 0
        assert worker.statistics().not_delivered > 0
        assert len(problems()) <= 4
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os; os._exit(4)", "the process has ended with exit code 4"),
        ("import ctypes; ctypes.string_at(0)", "the process was killed by SIGSEGV"),
        ("raise SystemExit", "SystemExit"),
        pytest.param("held = bytearray(1 << 30)", "MemoryError", marks=limits_memory),
        ("import time; time.sleep(600)", "was not ready after 1 s"),
    ],
)
async def test_an_import_may_do_anything(
    stage: Stage, fragile: Fragile, caplog: pytest.LogCaptureFixture, code: str, problem: str
) -> None:
    """An import that ends its process, crashes it, takes too much memory or never returns is a start that failed: it is
    logged, and no event is failed."""
    fragile.file.write_text(code)
    limits = ProcessLimits(processes=1, environment=("PROCESS_TEST_FILE",), start_timeout=1.0, memory=200 * MEBIBYTE)
    binding = binding_of(process_fragile.handles)
    worker = stage.worker(binding, ProcessInvoker(binding, limits=limits), ends=False)
    await stage.send([order(1)])
    task = asyncio.create_task(worker.run())
    try:
        await until(lambda: any(problem in message for message in caplog.messages), "the problem in the log")
        assert worker.statistics().dead_lettered == 0
        fragile.file.unlink()
        await until(lambda: worker.statistics().done == 1, "the event")
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)


async def test_a_slow_import_is_no_part_of_the_attempt(stage: Stage, fragile: Fragile) -> None:
    """A function whose import takes longer than its timeout is not timed out by it."""
    fragile.file.write_text("import time; time.sleep(1.0)")
    await stage.send([order(1), order(2)])
    came = await stage.run(process_fragile.handles, fragile.limits, timeout=0.5)
    assert (came.statistics.done, came.statistics.dead_lettered, came.statistics.not_delivered) == (2, 0, 0)


def nested() -> tuple[Callable[..., Any], type[Exception]]:
    """What no other process can import."""

    class Inner(Exception):
        pass

    @on_stream("events")
    def inside(value: bytes) -> None:
        pass

    return inside, Inner


async def test_what_no_process_can_import_is_refused() -> None:
    """A function inside a function, and an exception class inside one in the policy, are errors with the name."""
    inside, inner = nested()
    with pytest.raises(ConfigurationError, match="inside"):
        ProcessInvoker(binding_of(inside))
    with pytest.raises(ConfigurationError, match="Inner"):
        ProcessInvoker(binding_of(functions.waits, retry=Retry(give_up_on=(inner,))))


@pytest.mark.parametrize(
    "wrong",
    [
        {"processes": 0},
        {"memory": 1_000},
        {"cpu_seconds": 0},
        {"open_files": 3},
        {"start_timeout": float("inf")},
        {"max_reply": 0},
        {"environment": ("A=B",)},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, Any]) -> None:
    """A limit out of its range is an error that names it."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ProcessLimits(**wrong)
