"""What a function's process does to itself before the function's code is imported.

The limits are described in :class:`~dispatcher.invokers.process.limits.ProcessLimits`. Manual pages: getrlimit(2), prctl(2),
proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

__all__ = ["confine", "die_with", "lift_memory_limit", "renew_cpu_seconds"]

_PR_SET_PDEATHSIG = 1
# Bytes beyond the memory limit that are left for saying that it was reached.
_RESERVE = 16 << 20
_PARENT_CHECK = 1.0


def die_with(parent: int) -> None:
    """End this process when ``parent`` ends, whatever the function is at.

    On Linux the kernel sees to it; elsewhere a thread looks every second, which code that keeps the interpreter's
    lock can hold up.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()
    if os.getppid() != parent:
        os._exit(0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(0)


def confine(memory: int | None, open_files: int | None) -> None:
    """Limit this process, for good."""
    # A core would hold the events' data, and be as large as the memory.
    _limit(resource.RLIMIT_CORE, 0, 0)
    if memory is not None:
        _limit(resource.RLIMIT_DATA, memory, memory + _RESERVE)
    if open_files is not None:
        _limit(resource.RLIMIT_NOFILE, open_files, open_files)
    # When the machine itself is out of memory, this process is to go before the dispatcher.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def lift_memory_limit() -> None:
    """Free the reserve: the limit was reached, and this is to be said."""
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def renew_cpu_seconds(seconds: float) -> None:
    """Give the next invocation so much CPU time, beyond what the process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds), None)


def _limit(which: int, soft: int, hard: int | None) -> None:
    """Lower a limit; the kernel may hold the process to a lower one already, or, on macOS, refuse."""
    most = resource.getrlimit(which)[1]
    bounds = [bound for bound in (hard, most) if bound is not None and bound != resource.RLIM_INFINITY]
    if bounds:
        soft = min(soft, *bounds)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (soft, min(bounds, default=resource.RLIM_INFINITY)))
