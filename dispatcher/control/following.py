"""A process that runs functions, as its control stream sees it: it does as it is told, and tells what it did itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol

from dispatcher.brokers.base import Broker
from dispatcher.clock import Clock
from dispatcher.control.entry import Entry, whoami
from dispatcher.control.log import ControlLog
from dispatcher.core.retries import USED_UP, PauseCause
from dispatcher.errors import BrokerError, BrokerRefused, DispatchError, StreamNotFound
from dispatcher.telemetry.throttle import Throttle

__all__ = ["Control", "Controlled"]

logger = logging.getLogger("dispatcher.control")

# Seconds between two looks at the stream: two small requests each.
_INTERVAL = 1.0
# Seconds between two looks of a user without the right to it: somebody may grant it.
_REFUSED_INTERVAL = 60.0
# Seconds that a process leaves to the one that had an event before it, to say what went wrong with it.
_FIRST_OWNER = 3.0
# Seconds that the end of a process waits until the broker has what its functions did themselves.
_LAST_WORDS = 5.0


class Controlled(Protocol):
    """A worker, as its control sees it."""

    @property
    def name(self) -> str:
        """The function's name."""

    can_be_resumed: bool

    def pause(self) -> None:
        """Start nothing more."""

    def resume(self) -> None:
        """Start again."""


@dataclass(slots=True)
class _Told:
    """A pause of a function's own: what is to be written, from when on, and where it stands in the log once it is."""

    entry: Entry
    due: float
    offset: int | None = None


class Control:
    """Follows the control stream of an app for the functions of one process.

    A function is paused while the last entry about it says so, or while a pause of its own is not in the stream yet.
    Where the stream can't be written to, its own pause holds until the next entry about it.

    Args:
        broker: connected.
        app: whose functions.
        create: make the stream when a function pauses itself and it is missing.
        clock: for the time that entries have.
    """

    def __init__(self, broker: Broker, app: str, *, create: bool = True, clock: Clock | None = None) -> None:
        self._log = ControlLog(broker, app, create=create)
        self._clock = clock or Clock()
        self._workers: Collection[Controlled] = ()
        self._paused: dict[str, bool] = {}
        self._told: dict[str, _Told] = {}
        # Own pauses that could not be written: function -> the last entry then.
        self._unwritable: dict[str, Entry | None] = {}
        self._wake = asyncio.Event()
        self._throttle = Throttle(30.0)
        self._is_refused = False

    def paused_itself(self, function: str, cause: PauseCause) -> None:
        """A worker's ``on_pause``: every process of the app is to know."""
        entry = Entry(function=function, action="pause", by=whoami(), at=self._clock.wall_ms(), event=cause)
        # Whose owner it was until a moment ago is about to say more: what went wrong.
        wait = _FIRST_OWNER if cause.error_type == USED_UP else 0.0
        self._told[function] = _Told(entry, self._clock.monotonic() + wait)
        self._paused[function] = True
        self._wake.set()

    @contextlib.asynccontextmanager
    async def following(self, workers: Collection[Controlled]) -> AsyncIterator[None]:
        """Tell the workers how their functions stand, before anything is entered; then each change, within about a second.

        It waits for a stream that exists and can't be read just now: a paused function must not deliver an event. A user who
        may not read it is warned, once, and goes on without.
        """
        self._workers = workers
        while True:
            if await self._look():
                break
            await asyncio.sleep(_INTERVAL)
        self._apply()
        task = asyncio.create_task(self._follow(), name="control")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._write(at_once=True)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFUSED_INTERVAL if self._is_refused else _INTERVAL):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._write()
                await self._look()
                self._apply()
            except Exception:
                # Its end would be silent, and every later command unheard.
                if self._throttle.admits("bug") is not None:
                    logger.exception("a bug in the dispatcher; it goes on to follow %s", self._log.topic)

    async def _look(self) -> bool:
        """Whether all was read, or never will be."""
        try:
            await self._log.look()
        except BrokerRefused as error:
            if not self._is_refused:
                logger.warning(
                    "no remote control: functions can't be paused and resumed by commands while this process may not read %s."
                    ' control = "off" leaves it out: %s',
                    self._log.topic, error,
                )  # fmt: skip
            self._is_refused = True
        except DispatchError as error:
            if (more := self._throttle.admits("read")) is not None:
                logger.warning(
                    "%s can't be read%s, trying again; what is paused stays so: %s",
                    self._log.topic, f" ({more} times)" if more else "", error,
                )  # fmt: skip
            return False
        else:
            if self._is_refused:
                logger.info("remote control works now: %s may be read", self._log.topic)
            self._is_refused = False
        return True

    async def _write(self, *, at_once: bool = False) -> None:
        """Bring to the stream what functions did themselves."""
        for function, told in list(self._told.items()):
            if told.offset is not None or (told.due > self._clock.monotonic() and not at_once):
                continue
            await self._look()
            if self._is_known(told.entry):
                del self._told[function]
                continue
            try:
                told.offset = await self._log.write(told.entry)
            except (BrokerRefused, StreamNotFound) as error:
                self._keep(function, told, error)
            except BrokerError as error:
                if (more := self._throttle.admits("write")) is not None:
                    logger.warning(
                        "that %s has paused is not in %s yet%s, trying again: %s",
                        function, self._log.topic, f" ({more} times)" if more else "", error,
                    )  # fmt: skip

    def _is_known(self, entry: Entry) -> bool:
        """Whether another process has paused over the same event: it had it before, and knows more of it."""
        other, own = self._log.trail.paused(entry.function), entry.event
        if other is None or other.event is None or own is None:
            return False
        there = other.event
        return (there.stream, there.partition, there.offset) == (own.stream, own.partition, own.offset)

    def _keep(self, function: str, told: _Told, error: BrokerError) -> None:
        if self._told.get(function) is told:
            del self._told[function]
            self._unwritable[function] = self._log.trail.last(function)
        logger.warning(
            "%s has paused in this process alone: %s can't be written: %s."
            " To resume it, pause and resume it by command",
            function, self._log.topic, error,
        )  # fmt: skip

    def _apply(self) -> None:
        for worker in self._workers:
            self._apply_to(worker)

    def _apply_to(self, worker: Controlled) -> None:
        name = worker.name
        worker.can_be_resumed = not self._is_refused
        entry = self._log.trail.last(name)
        told = self._told.get(name)
        if told is not None and told.offset is not None and told.offset < self._log.position:
            del self._told[name]  # it has come back, with all that was said before it and since
            told = None
        if name in self._unwritable and self._unwritable[name] is not entry:
            del self._unwritable[name]
        paused = told is not None or name in self._unwritable or self._log.trail.paused(name) is not None
        if paused == self._paused.get(name, False) and (entry is None or name in self._paused):
            return
        was_paused, self._paused[name] = self._paused.get(name, False), paused
        if paused:
            worker.pause()
        else:
            worker.resume()
        if entry is not None and paused != was_paused:
            logger.log(
                logging.WARNING if paused else logging.INFO,
                "%s is %s by %s%s",
                name, "paused" if paused else "resumed", entry.who, f": {entry.why}" if entry.why else "",
            )  # fmt: skip
