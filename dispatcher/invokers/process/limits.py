"""What a function's processes may use."""

from __future__ import annotations

import os
from dataclasses import dataclass

from dispatcher.errors import ConfigurationError

__all__ = ["MEBIBYTE", "ProcessLimits"]

MEBIBYTE = 1 << 20

# An interpreter with pydantic has 50 MiB of data; below this it can't even say what is wrong.
_LEAST_MEMORY = 64 * MEBIBYTE
_LEAST_FILES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessLimits:
    """What the processes of one function may use; each limit is one process's.

    Memory is limited as ``RLIMIT_DATA``: the heap and all private writable memory, which is what a function
    allocates. ``RLIMIT_AS`` would count the address space too, of which threads and numeric libraries reserve gigabytes
    without using them. Memory that is shared on purpose (``mmap(-1, ...)``, ``/dev/shm``) and a function's own
    subprocesses are not counted. On macOS the kernel does not hold a process to either limit: there, memory is
    unlimited.

    CPU time is limited as ``RLIMIT_CPU``, anew for each invocation. The kernel counts in whole seconds, so
    a process is killed up to one second late. A function that means harm can lift its own limit; its timeout it can't.

    Args:
        processes: at the most; the function's ``concurrency`` is a limit too. None for one a processor.
        memory: bytes, 64 MiB at the least; None for no limit.
        cpu_seconds: seconds of CPU time of one invocation; None leaves it to the timeout.
        open_files: file descriptors; None for what the dispatcher may have.
        environment: names of environment variables that the function may see, beyond those of
            :data:`~dispatcher.invokers.process.environment.ALLOWED`.
        start_timeout: seconds that the start of a process, with the import of the function, may take.
        max_reply: bytes of one invocation's results and failures; a process that sends more is killed.

    Raises:
        ConfigurationError: a number is out of range.
    """

    processes: int | None = None
    memory: int | None = None
    cpu_seconds: float | None = None
    open_files: int | None = None
    environment: tuple[str, ...] = ()
    start_timeout: float = 60.0
    max_reply: int = 64 * MEBIBYTE

    def __post_init__(self) -> None:
        _check("processes", self.processes, 1)
        _check("memory", self.memory, _LEAST_MEMORY)
        _check("cpu_seconds", self.cpu_seconds, 0.001)
        _check("open_files", self.open_files, _LEAST_FILES)
        _check("start_timeout", self.start_timeout, 0.001)
        _check("max_reply", self.max_reply, 1024)
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                raise ConfigurationError(f"environment: {name!r} is not the name of a variable")

    def count(self, concurrency: int) -> int:
        """How many processes a function of that concurrency gets."""
        return min(concurrency, self.processes or os.cpu_count() or 1)


def _check(name: str, value: float | None, least: float) -> None:
    if value is not None and not least <= value < float("inf"):
        raise ConfigurationError(f"{name}={value!r}: it is {least:,} or more")
