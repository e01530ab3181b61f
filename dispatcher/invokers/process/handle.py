"""One function's process, as the dispatcher holds it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from dispatcher.core.delivery import Delivery
from dispatcher.invokers.process.environment import environment_of, import_path
from dispatcher.invokers.process.frames import FAILED, LOG, READY, REPLY, START, Bytes, Frames, InvalidFrame, frame
from dispatcher.invokers.process.logs import read_log
from dispatcher.invokers.process.messages import Answer, pack_request, read_reply

__all__ = ["ProcessEnded", "ProcessHandle", "StartFailed"]

# With no entry of sys.path for the script, with nothing printed left in a buffer, and a traceback when it crashes.
_COMMAND = (sys.executable, "-P", "-u", "-X", "faulthandler", str(Path(__file__).with_name("launch.py")))
# Room in a frame beyond the results: what a process checks is their frame, and log records are smaller.
_FRAME_ROOM = 1 << 16
# Bytes of log records that one invocation may send: 1,000 of the longest.
_MOST_LOGGED = 16 << 20
# Seconds that a process which has hung up, or was asked to end, gets to do so by itself.
_GRACE = 1.0


class StartFailed(Exception):
    """Raised when a process could not be set up; the message says why."""


class ProcessEnded(Exception):
    """Raised when a process has ended, or was killed for what it sent; the message says how."""


class ProcessHandle(asyncio.Protocol):
    """Starts a process, talks with it, ends it.

    The process leads a session of its own, so a signal to its group reaches what it has started, and the terminal's
    Ctrl-C does not reach it. It is waited for only after its group was killed: until then its number is nobody else's.

    Args:
        settings: what it is told at its start.
        environment: names of variables that it may see beyond the harmless ones.
        logger: takes its log records.
        starter: the one thread that starts processes. It outlives them.
        ended: called when it has ended.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        environment: Sequence[str],
        logger: logging.Logger,
        starter: Executor,
        ended: Callable[[ProcessHandle], None],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._logger = logger
        self._starter = starter
        self._on_ended = ended
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(settings["max_reply"] + _FRAME_ROOM)
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[Answer] | None = None
        self._expected: tuple[int, int] = (0, 0)
        self._logged = 0
        self._problem: str | None = None
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._give_up: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether it can take an invocation, as far as is known."""
        return (
            self._transport is not None and self._problem is None and self._give_up is None and not self._gone.is_set()
        )

    async def start(self) -> None:
        """Start the process and wait until it has imported the function.

        Raises:
            StartFailed: it could not.
            ProcessEnded: it has ended before it could say why.
        """
        try:
            await self._launch()
        except OSError as error:
            raise StartFailed(f"no process can be started: {error}") from error
        await self._started

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await self._spawn_in_thread(theirs.fileno())
            ours.setblocking(False)
            self._transport, _ = await self._loop.create_connection(lambda: self, sock=ours)
        except BaseException:
            # A process that nobody knows of ends by this too.
            ours.close()
            if self._process is None:
                self._gone.set()
                self._on_ended(self)
            raise
        self._transport.write(frame(START, {**self._settings, "parent": os.getpid()}))

    async def _spawn_in_thread(self, descriptor: int) -> None:
        spawned = self._loop.run_in_executor(self._starter, self._spawn, descriptor)
        try:
            await asyncio.shield(spawned)
        except asyncio.CancelledError:
            # It takes a few milliseconds, and must not be born unseen.
            await asyncio.wait([spawned])
            raise
        finally:
            if self._process is not None:
                self._watch()

    def _spawn(self, descriptor: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the arguments are ours
            [*_COMMAND, str(descriptor), *import_path(sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=environment_of(os.environ, self._environment),
            pass_fds=(descriptor,),
            start_new_session=True,
        )

    async def call(self, id_: int, batch: Sequence[Delivery]) -> Answer:
        """Hand over an invocation and wait for what it came to.

        Raises:
            ProcessEnded: the process has ended over it.
        """
        if self._transport is None or not self.is_alive:
            raise ProcessEnded(self._problem or "the process has ended")
        request = pack_request(id_, batch)
        self._answer = self._loop.create_future()
        self._expected = (id_, len(batch))
        self._logged = 0
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def kill(self) -> None:
        """Kill the process and what it has started."""
        self._problem = self._problem or "the process was killed"
        self._kill_group()

    async def end(self) -> None:
        """Let an idle process end by itself, kill it if it does not, and wait until it is gone."""
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            await self._gone.wait()

    async def wait(self) -> None:
        """Wait until the process is gone."""
        await self._gone.wait()

    # -- of the connection

    def data_received(self, data: bytes) -> None:
        try:
            for kind, header, rest in self._frames.feed(data):
                self._take(kind, header, rest)
        except InvalidFrame as error:
            self._problem = self._problem or f"the process broke the protocol: {error}"
            self._kill_group()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name in asyncio.Protocol
        if self._gone.is_set():
            return
        if self._pidfd is None:
            self._loop.run_in_executor(None, self._wait_in_thread)
        # It may be on its way out, and its exit code says more than a signal of ours.
        self._give_up = self._loop.call_later(_GRACE, self._kill_group)

    def _take(self, kind: bytes, header: Any, data: Bytes) -> None:
        if self._problem is not None:
            return
        if kind == LOG:
            self._log(header)
        elif kind == REPLY and self._answer is not None and not self._answer.done():
            id_, events = self._expected
            answer = read_reply(header, data, events)
            if answer.id != id_ or (answer.reply.results and self._settings["emits"] is None):
                raise InvalidFrame("a reply to what was not asked")
            self._answer.set_result(answer)
        elif kind == READY and not self._started.done():
            self._started.set_result(None)
        elif kind == FAILED and not self._started.done() and type(header) is str:
            self._started.set_exception(StartFailed(header))
        else:
            raise InvalidFrame("a message that nobody waits for")

    def _log(self, header: Any) -> None:
        record = read_log(header)
        self._logged += len(str(record.msg)) + 100
        if self._logged > _MOST_LOGGED:
            raise InvalidFrame("too much is logged")
        if self._logger.isEnabledFor(record.levelno):
            self._logger.handle(record)

    # -- of the process

    def _watch(self) -> None:
        """Have its end noticed, even if something that it has started holds the connection open."""
        if not hasattr(os, "pidfd_open"):
            return
        # A kernel or a sandbox without it: then the connection tells.
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._reap)

    def _wait_in_thread(self) -> None:
        if self._process is not None:
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._reap)

    def _kill_group(self) -> None:
        if self._process is not None and not self._gone.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """The process has ended: end what it has started, and tell those who wait."""
        if self._gone.is_set() or self._process is None:
            return
        self._kill_group()
        code = self._process.wait()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._give_up is not None:
            self._give_up.cancel()
        self._gone.set()
        if self._transport is not None:
            self._transport.close()
        problem = self._problem or self._describe(code)
        for waiting in (self._started, self._answer):
            if waiting is not None and not waiting.done():
                waiting.set_exception(ProcessEnded(problem))
                # Read once: who waited may have been cancelled, which is no reason for a warning.
                waiting.exception()
        self._on_ended(self)

    def _describe(self, code: int) -> str:
        if code >= 0:
            return f"the process has ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if -code == signal.SIGXCPU:
            return (
                f"the process was killed by {name}: it used more than its {self._settings['cpu_seconds']} s of CPU time"
            )
        if -code == signal.SIGKILL:
            return f"the process was killed by {name}, by the system when memory ran out, or by somebody"
        return f"the process was killed by {name}"
