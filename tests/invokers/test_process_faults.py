"""What a function does to its process is one failed attempt of its events, and nothing else."""

from __future__ import annotations

import json
import os
import sys
import time

import process_functions as functions
import pytest
from stage import Came, Stage, is_running, order, until

from dispatcher.invokers.process import ProcessLimits
from dispatcher.invokers.process.limits import MEBIBYTE

ONE = ProcessLimits(processes=1)

limits_memory = pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not hold a process to its limit")
has_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there, only the closed line tells of the end")


async def one_among_others(
    stage: Stage, do: str, limits: ProcessLimits = ONE, **changes: float
) -> tuple[Came, str, str]:
    """Send an event that does that between ones that do nothing, and check that those were handled.

    Returns:
        What came of them, and the error type and the message of the one.
    """
    await stage.send([order(1), order(2), order(3, do), order(4), order(5)])
    came = await stage.run(functions.misbehaves, limits, **changes)
    assert (came.statistics.done, came.statistics.dead_lettered, came.statistics.not_delivered) == (4, 1, 0)
    assert {value["id"] for value in came.values} == {1, 2, 4, 5}
    assert list(came.dead) == [order(3, do)]
    assert not any(is_running(pid) for pid in came.pids)
    reason, error_type, message, attempts = came.dead[order(3, do)]
    assert (reason, attempts) == ("attempts", "1")
    return came, error_type, message


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("exit", "the process has ended with exit code 7"),
        ("segfault", "the process was killed by SIGSEGV"),
    ],
)
async def test_a_crash_fails_its_event_alone(stage: Stage, do: str, message: str) -> None:
    """A function that ends its process, or crashes it, fails with the exit code or the signal; the events before and
    after it are handled, those after it by another process."""
    came, *told = await one_among_others(stage, do)
    assert told == ["ProcessEnded", message]
    assert len({value["pid"] for value in came.values}) == 2


@pytest.mark.parametrize("do", ["spin", "deaf"])
async def test_what_takes_too_long_is_killed(stage: Stage, do: str) -> None:
    """An endless loop that never lets go, and a sleep with all signals blocked, end at the function's timeout."""
    began = time.monotonic()
    _, error_type, message = await one_among_others(stage, do, timeout=0.5)
    assert (error_type, message) == ("TimeoutError", "took longer than 0.5 s")
    assert time.monotonic() - began < 20


async def test_an_async_function_that_blocks_or_sleeps_is_killed(stage: Stage) -> None:
    """The timeout holds for an async function, whether it waits or keeps its event loop from turning."""
    await stage.send([order(1, "spin"), order(2, "sleep"), order(3)])
    came = await stage.run(functions.waits, ONE, timeout=0.5)
    assert {facts[1] for facts in came.dead.values()} == {"TimeoutError"}
    assert (came.statistics.done, came.statistics.dead_lettered) == (1, 2)


@limits_memory
@pytest.mark.parametrize("do", ["eat", "nibble", "chain"])
async def test_an_eater_of_memory_fails_alone(stage: Stage, do: str) -> None:
    """A function that allocates without end, in large pieces or to the last byte, meets MemoryError at its limit; its
    process is replaced, and the other events go on."""
    came, error_type, _ = await one_among_others(stage, do, ProcessLimits(processes=1, memory=200 * MEBIBYTE))
    assert error_type == "MemoryError"
    assert len({value["pid"] for value in came.values}) == 2


@limits_memory
async def test_memory_that_leaks_gets_a_new_process(stage: Stage) -> None:
    """A function that keeps memory over many invocations fails when the limit is reached, once; the new process begins
    with none of it."""
    await stage.send([order(id_, "leak") for id_ in range(6)])
    came = await stage.run(functions.misbehaves, ProcessLimits(processes=1, memory=200 * MEBIBYTE))
    assert {facts[1] for facts in came.dead.values()} == {"MemoryError"}
    assert 1 <= came.statistics.dead_lettered < came.statistics.done
    assert len(came.pids) >= 2


async def test_cpu_time_is_limited_by_invocation(stage: Stage) -> None:
    """An invocation that uses more CPU time than it may is killed long before its timeout, and the message says so."""
    _, error_type, message = await one_among_others(stage, "burn", ProcessLimits(processes=1, cpu_seconds=1.0))
    assert error_type == "ProcessEnded"
    assert message == "the process was killed by SIGXCPU: it used more than its 1.0 s of CPU time"


async def test_cpu_time_is_given_anew(stage: Stage) -> None:
    """Many short invocations of one process may use more CPU time together than one may."""
    await stage.send([order(id_, "work") for id_ in range(6)])
    came = await stage.run(functions.misbehaves, ProcessLimits(processes=1, cpu_seconds=0.5))
    assert came.statistics.done == 6
    assert len(came.pids) == 1
    assert came.values[-1]["cpu"] > 1.6


async def test_open_files_are_limited(stage: Stage) -> None:
    """A function that opens more files than it may fails with the system's own error."""
    _, error_type, message = await one_among_others(stage, "many files", ProcessLimits(processes=1, open_files=64))
    assert error_type == "OSError"
    assert "Too many open files" in message


@pytest.mark.parametrize("do", ["garbage", "nonsense", "hang up"])
async def test_a_process_that_breaks_the_protocol_is_killed(stage: Stage, do: str) -> None:
    """Bytes that are no message, a message that is no reply, and a closed line cost the one attempt."""
    _, error_type, _ = await one_among_others(stage, do)
    assert error_type == "ProcessEnded"


async def test_results_that_are_too_large_fail_with_both_sizes(stage: Stage) -> None:
    """A function whose results are larger than max_reply is told so, and its process stays."""
    came, error_type, message = await one_among_others(stage, "huge", ProcessLimits(processes=1, max_reply=MEBIBYTE))
    assert error_type == "InvalidOutcome"
    assert "1,048,576" in message
    assert len({value["pid"] for value in came.values}) == 1


@has_pidfd
async def test_a_process_that_leaves_a_child_behind_is_seen_to_have_ended(stage: Stage) -> None:
    """The end of a process is noticed at once, though a fork of it holds the line open, and the fork is ended too."""
    began = time.monotonic()
    _, error_type, message = await one_among_others(stage, "fork", timeout=60.0)
    assert (error_type, message) == ("ProcessEnded", "the process has ended with exit code 9")
    assert time.monotonic() - began < 20


async def test_what_a_function_has_started_ends_with_its_process(stage: Stage) -> None:
    """A subprocess that a function leaves running is gone when the worker has closed its processes."""
    await stage.send([order(1, "start")])
    came = await stage.run(functions.misbehaves, ONE)
    (value,) = came.values
    assert not is_running(value["pid"])
    # It was killed, and is nobody's child here who could be waited for: the system takes its moment.
    await until(lambda: not is_running(value["started"]), "its end", patience=5)


async def test_others_go_on_while_one_is_killed(stage: Stage) -> None:
    """With two processes, the events of other keys are handled while one invocation spins up to its timeout."""
    await stage.send([order(0, "spin"), *(order(id_) for id_ in range(1, 30))])
    came = await stage.run(functions.misbehaves, ProcessLimits(processes=2), timeout=3.0)
    assert (came.statistics.done, came.statistics.dead_lettered) == (29, 1)
    assert json.loads(next(iter(came.dead)) or b"")["id"] == 0
