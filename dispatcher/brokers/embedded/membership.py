"""One member of a group at work: joins, gives up and takes partitions, shows that it lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from dispatcher.brokers.base import RebalanceListener
from dispatcher.brokers.embedded import groups
from dispatcher.brokers.embedded.database import Database
from dispatcher.brokers.embedded.position import Position
from dispatcher.brokers.embedded.signals import Watcher
from dispatcher.core.record import TopicPartition
from dispatcher.errors import BrokerError, DispatchError, StreamNotFound

__all__ = ["Membership"]

_logger = logging.getLogger(__name__)

#: Twice at most while closing: for the tasks to end, and for the group to be told.
_CLOSE_TIMEOUT = 4.5


class Membership:
    """The partitions that a consumer holds, kept in step with its group.

    Attributes:
        member_id, generation: what a commit is signed with.
        positions: the partitions held, from before ``on_assigned`` to after ``on_revoked``.
        delivering: whether their records may be handed out: from after ``on_assigned`` to before ``on_revoked``.
    """

    def __init__(
        self,
        writer: Database,
        watcher: Watcher,
        group: str,
        streams: Sequence[str],
        listener: RebalanceListener,
        *,
        session_timeout: float,
        rebalance_timeout: float,
    ) -> None:
        self.member_id = 0
        self.generation = 0
        self.positions: dict[TopicPartition, Position] = {}
        self.delivering = False
        self._writer = writer
        self._watcher = watcher
        self._group = group
        self._streams = tuple(streams)
        self._listener = listener
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._interval = session_timeout / 4
        self._failure: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the group; partitions come a moment later."""
        await self._join()
        self._heartbeat = asyncio.create_task(self._beat(), name=f"dispatch-heartbeat-{self._group}")
        self._tasks = [
            self._heartbeat,
            asyncio.create_task(self._follow(), name=f"dispatch-member-{self._group}"),
        ]

    async def close(self) -> None:
        """Leave the group. Never raises."""
        this = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not this]
        self._tasks = []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT)
        self.positions = {}
        self.delivering = False
        if self.member_id:
            with contextlib.suppress(DispatchError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._writer.run(
                        groups.leave, self._group, self.member_id, self._rebalance_timeout, time.monotonic()
                    )
        self.member_id = 0
        self._watcher.groups.notify()

    def raise_failure(self) -> None:
        """Raise what ended this membership, if something did."""
        if self._failure is not None:
            raise self._failure

    async def _join(self) -> None:
        self.member_id = groups.new_member_id()
        await self._writer.run(
            groups.join,
            self._group,
            self.member_id,
            self._streams,
            self._session_timeout,
            self._rebalance_timeout,
            time.monotonic(),
        )
        self._watcher.groups.notify()

    async def _follow(self) -> None:
        try:
            while True:
                changed = self._watcher.groups.next
                if not await self._step():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._interval):
                            await changed.wait()
        except Exception as error:
            if not isinstance(error, BrokerError):
                _logger.exception("a consumer of %s ends: its rebalance listener failed", self._group)
            self._failure = error
            self.delivering = False
            # Silent from now on, so that the others get its partitions even if nobody closes it.
            self._heartbeat.cancel()
            self._watcher.records.notify()

    async def _step(self) -> bool:
        """Look at the group and do what it asks for; whether to look again at once."""
        before = self.generation
        view = await self._writer.run(
            groups.tick,
            self._group,
            self.member_id,
            ready=not self.positions,
            rebalance_timeout=self._rebalance_timeout,
            now=time.monotonic(),
        )
        if not view.member:
            _logger.warning("a consumer of %s was put out of its group for its silence; it joins again", self._group)
            await self._give_up()
            await self._join()
            return True
        if view.missing is not None:
            raise StreamNotFound(f"{view.missing} was deleted while {self._group} consumed it")
        if view.preparing:
            if not self.positions:
                return False
            await self._give_up()
            return True
        if view.generation != before:
            self._watcher.groups.notify()
            await self._take_over(view)
        return False

    async def _give_up(self) -> None:
        self.delivering = False
        if self.positions:
            try:
                await self._listener.on_revoked(tuple(self.positions))
            finally:
                self.positions = {}

    async def _take_over(self, view: groups.View) -> None:
        self.generation = view.generation
        self.positions = {held.partition: Position(*held) for held in view.assigned}
        await self._listener.on_assigned(tuple(self.positions))
        self.delivering = True
        self._watcher.records.notify()

    async def _beat(self) -> None:
        # Apart from _follow, which waits for the listener to drain for longer than a session lasts.
        while True:
            await asyncio.sleep(self._interval)
            with contextlib.suppress(DispatchError):
                await self._writer.run(groups.heartbeat, self.member_id, time.monotonic())
