"""The target ``process``: a function in processes of its own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bindings import Binding, Emit
from bindings.failure import Failure, FailureKind, timed_out
from bindings.invocation import Reply
from dispatcher.core.delivery import Delivery
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.process.handle import ProcessEnded, ProcessHandle, StartFailed
from dispatcher.invokers.process.limits import ProcessLimits

__all__ = ["ProcessInvoker"]

log = logging.getLogger("dispatcher.invokers.process")

# Seconds before a process that could not be set up is tried again; doubled each time.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# Seconds that a killed process is waited for. One in an uninterruptible system call may take for ever.
_DEATH_WAIT = 5.0
# Seconds before an event whose process could not be started is offered again.
_SHORTEST_WAIT = 0.1
_LONGEST_MESSAGE = 1_000


class ProcessInvoker:
    """Runs a function in processes that stay warm, one invocation at a time in each.

    A process is started when there is an event for it, with a clean interpreter, and imports the function. It is killed,
    with what it has started, when an invocation takes longer than the function's timeout (counted from when it was
    handed over, so that a slow import costs no attempt). An invocation that kills its process, by a crash or a limit,
    has failed, and nothing else has; a new process takes the place. Where the function can't be imported, its events
    are not delivered: no attempt is used, and the import is tried again with growing waits.

    It keeps a function's faults from the dispatcher, not its malice: the process belongs to the same user, and
    reads the files and reaches the network that this user may; and the dispatcher imports the function's module too, for
    its declaration. Code that nobody vouches for wants a container around all of it.

    Args:
        binding: the function and its policies.
        reference: the function as ``"module:attribute"``; made from the function itself when it is not given.
        root: the folder that the module's name begins at; the working directory by default.
        limits: what the processes may use.

    Raises:
        ConfigurationError: the function is not at the top of a module, so no other process can import it.
    """

    #: The time that a process takes to start is no part of an attempt, so the timeout is counted here.
    keeps_time = True

    def __init__(
        self,
        binding: Binding,
        *,
        reference: str | None = None,
        root: str | Path | None = None,
        limits: ProcessLimits | None = None,
    ) -> None:
        self._binding = binding
        self._limits = limits or ProcessLimits()
        self._settings = {
            "reference": reference or _reference(binding),
            # A process begins in the same working directory, so a relative path means the same there.
            "root": str(root or "."),
            "name": binding.name,
            "emits": binding.emits,
            "timeout": binding.timeout,
            "retry_on": [_name_of(kind) for kind in binding.retry.retry_on],
            "give_up_on": [_name_of(kind) for kind in binding.retry.give_up_on],
            "memory": self._limits.memory,
            "cpu_seconds": self._limits.cpu_seconds,
            "open_files": self._limits.open_files,
            "max_reply": self._limits.max_reply,
        }
        self._logger = logging.getLogger(f"functions.{binding.name}")
        #: Invocations that can run at once.
        self.concurrency = self._limits.count(binding.places)
        # One thread, until the end: a process is made to end with the thread that started it.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix=f"start-{binding.name}")
        self._places = asyncio.Semaphore(self.concurrency)
        self._idle: list[ProcessHandle] = []
        self._living: set[ProcessHandle] = set()
        self._ids = itertools.count(1)
        self._failed_starts = 0
        self._retry_at = 0.0
        self._problem = ""

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the processes that there are."""
        return tuple(process.pid for process in self._living)

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Hand the events to a process and wait for what becomes of them."""
        async with self._places:
            try:
                process = await self._process()
            except (StartFailed, ProcessEnded) as error:
                return self._not_started(str(error))
            return await self._invoke(process, batch)

    def results(self, returned: object) -> Sequence[Emit]:  # noqa: ARG002 - the name in Invoker
        """Nothing: a function in another process returns nothing here."""
        return ()

    async def close(self) -> None:
        """End the processes, and wait until they are gone."""
        idle, self._idle = self._idle, []
        for process in self._living.difference(idle):
            process.kill()
        try:
            async with asyncio.timeout(_DEATH_WAIT):
                await asyncio.gather(*(process.end() for process in list(self._living)))
        except TimeoutError:
            log.warning("%s: processes %s do not end", self._binding.name, self.pids)
        self._starter.shutdown(wait=False)

    async def _invoke(self, process: ProcessHandle, batch: Sequence[Delivery]) -> Reply:
        try:
            async with asyncio.timeout(self._binding.timeout):
                answer = await process.call(next(self._ids), batch)
        except TimeoutError:
            await self._kill(process)
            return Reply(rest=timed_out(self._binding.timeout))
        except ProcessEnded as error:
            log.warning("%s: %s", self._binding.name, error)
            # The next attempt is not to begin while this one's last breath may still do something.
            await self._kill(process)
            return Reply(rest=Failure(kind=FailureKind.FUNCTION, error_type="ProcessEnded", message=str(error)))
        except BaseException:
            process.kill()
            raise
        if not answer.last:
            self._idle.append(process)
        return answer.reply

    async def _process(self) -> ProcessHandle:
        """A process that waits for work, or a new one."""
        while self._idle:
            # The last one used is the warmest, and lets the others be seen as idle.
            process = self._idle.pop()
            if process.is_alive:
                return process
        if time.monotonic() < self._retry_at:
            raise StartFailed(self._problem)
        return await self._start()

    async def _start(self) -> ProcessHandle:
        process = ProcessHandle(
            {**self._settings, "level": self._logger.getEffectiveLevel()},
            environment=self._limits.environment,
            logger=self._logger,
            starter=self._starter,
            ended=self._ended,
        )
        self._living.add(process)
        try:
            async with asyncio.timeout(self._limits.start_timeout):
                await process.start()
        except (StartFailed, ProcessEnded, TimeoutError) as error:
            process.kill()
            problem = str(error) or f"it was not ready after {self._limits.start_timeout:g} s"
            self._back_off(problem)
            raise StartFailed(problem) from error
        except BaseException:
            process.kill()
            raise
        self._failed_starts = 0
        self._retry_at = 0.0
        return process

    def _ended(self, process: ProcessHandle) -> None:
        self._living.discard(process)
        if process in self._idle:
            self._idle.remove(process)

    async def _kill(self, process: ProcessHandle) -> None:
        process.kill()
        try:
            async with asyncio.timeout(_DEATH_WAIT):
                await process.wait()
        except TimeoutError:
            log.warning("%s: process %d was killed and does not end", self._binding.name, process.pid)

    def _back_off(self, problem: str) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            # Started together with the one that failed first.
            return
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._failed_starts, 16))
        self._failed_starts += 1
        self._retry_at = now + wait
        self._problem = problem
        log.error(
            "%s: its process can't start, trying again in %g s; its events wait: %s", self._binding.name, wait, problem
        )

    def _not_started(self, problem: str) -> Reply:
        return Reply(
            rest=Failure(
                kind=FailureKind.NOT_DELIVERED,
                error_type="StartFailed",
                message=problem[:_LONGEST_MESSAGE],
                retry_after=max(_SHORTEST_WAIT, self._retry_at - time.monotonic()),
            )
        )


def _reference(binding: Binding) -> str:
    function = binding.function
    if "." in function.__qualname__ or function.__module__ == "__main__":
        raise ConfigurationError(
            f"{binding.name} can't run in a process of its own: {function.__module__}.{function.__qualname__} is not at"
            " the top of a module that another process can import"
        )
    return f"{function.__module__}:{function.__name__}"


def _name_of(kind: type[BaseException]) -> str:
    if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__":
        raise ConfigurationError(
            f"{kind.__qualname__} in Retry(retry_on=, give_up_on=) is not at the top of a module, so a function in a process"
            " can't raise it"
        )
    return f"{kind.__module__}:{kind.__qualname__}"
