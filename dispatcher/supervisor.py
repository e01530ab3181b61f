"""Several processes of one app on one machine, and new code without a stop.

The supervisor runs no function itself. It starts ``dispatch run`` as often as asked, in the same consumer groups, so
that the broker shares the partitions among them; it starts a dead one anew, passes signals on, and with reload
exchanges them when the code changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

__all__ = ["LIFELINE", "Supervisor"]

logger = logging.getLogger("dispatcher.supervisor")

#: Names the file descriptor at whose end a worker process knows that its supervisor has died.
LIFELINE: Final = "DISPATCH_LIFELINE_FD"

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
#: Seconds after which a process that dies is a new failure, rather than one more of the last.
_STEADY = 60.0
#: What ``dispatch`` exits with when it was called wrongly: no start can mend that.
_USAGE = 2
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

#: Gives True each time the code has changed.
Changes = Callable[[], AsyncIterator[object]]


class Supervisor:
    """Keeps ``count`` processes running.

    The first SIGINT or SIGTERM has them drain, the second stops them at once, the third kills them. They are in sessions of
    their own, so that a terminal's Ctrl-C reaches the supervisor alone, and once.

    Args:
        command: what each process runs.
        count: how many.
        ends_by_itself: a process that exits with 0 or 1 has finished (``--until-caught-up``), and is not started anew.
        check: a command that exits with 0 when the code can be imported; run before a reload.
        changes: yields when the code has changed; None for no reload.
        environ: variables of the process with that number, from 1 on, beside our own.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        ends_by_itself: bool = False,
        check: Sequence[str] = (),
        changes: Changes | None = None,
        environ: Callable[[int], Mapping[str, str]] | None = None,
    ) -> None:
        self._command = list(command)
        self._count = count
        self._ends_by_itself = ends_by_itself
        self._check = list(check)
        self._changes = changes
        self._environ = environ or (lambda _: {})
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._signals: list[int] = []
        self._stopping = asyncio.Event()
        self._replaced: set[int] = set()
        self._code = 0

    async def run(self) -> int:
        """Run until all have ended; the exit code of the whole."""
        read_end, write_end = os.pipe()
        os.set_inheritable(read_end, True)
        try:
            with self._signals_captured():
                keepers = [asyncio.create_task(self._keep(number, read_end)) for number in range(1, self._count + 1)]
                watcher = asyncio.create_task(self._reload()) if self._changes is not None else None
                try:
                    await asyncio.gather(*keepers)
                finally:
                    if watcher is not None:
                        watcher.cancel()
                        await asyncio.gather(watcher, return_exceptions=True)
        finally:
            os.close(read_end)
            os.close(write_end)
        return 128 + self._signals[0] if self._signals else self._code

    async def _keep(self, number: int, lifeline: int) -> None:
        """Have one process run, and another after it, until that is no longer wanted."""
        wait = _FIRST_WAIT
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_one(number, lifeline)
            if self._stopping.is_set():
                return
            if code == _USAGE or (self._ends_by_itself and code in (0, 1)):
                self._code = max(self._code, code)
                if code == _USAGE:
                    self._stop(signal.SIGTERM)
                return
            if number in self._replaced:
                self._replaced.discard(number)
                continue
            if time.monotonic() - began > _STEADY:
                wait = _FIRST_WAIT
            logger.error("worker %d has ended (%s); another starts in %g s", number, _manner(code), wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            wait = min(_LONGEST_WAIT, 2 * wait)

    async def _run_one(self, number: int, lifeline: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            # One alone has our stderr for itself, with the live table that a terminal gets; of several each line says whose it is.
            stderr=asyncio.subprocess.PIPE if self._count > 1 else None,
            env={**os.environ, **self._environ(number), LIFELINE: str(lifeline)},
            pass_fds=(lifeline,),
            start_new_session=True,
        )
        self._processes[number] = process
        if self._stopping.is_set():
            _signal(process, signal.SIGTERM)  # it came when the signal had been passed on
        try:
            await _copy(process.stderr, f"worker {number} | ")
            return await process.wait()
        finally:
            del self._processes[number]

    async def _reload(self) -> None:
        """Exchange the processes when the code has changed and can be imported; else leave the running code at work."""
        if self._changes is None:
            return
        async for _ in self._changes():
            if self._stopping.is_set():
                return
            if self._check and not await self._is_sound():
                logger.error("the new code can't be imported, and the code from before goes on; mend it and save")
                continue
            logger.info("the code has changed: finishing what is in flight, then going on with it")
            for number, process in self._processes.items():
                self._replaced.add(number)
                _signal(process, signal.SIGTERM)

    async def _is_sound(self) -> bool:
        check = await asyncio.create_subprocess_exec(
            *self._check, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await check.communicate()
        if check.returncode:
            sys.stderr.write(said.decode(errors="replace"))
        return check.returncode == 0

    @contextlib.contextmanager
    def _signals_captured(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        self._signals.append(number)
        self._stop(number if len(self._signals) < 3 else signal.SIGKILL)

    def _stop(self, number: int) -> None:
        self._stopping.set()
        for process in self._processes.values():
            _signal(process, number)


async def _copy(stream: asyncio.StreamReader | None, prefix: str) -> None:
    """Bring a process's lines to our stderr, each with whose it is."""
    if stream is None:
        return
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the reader's 64 KiB: what it holds is dropped, and the next line comes
            continue
        if not line:
            return
        sys.stderr.write(f"{prefix}{line.decode(errors='replace')}")


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _manner(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
