"""The test dispatcher on a running loop: members that come and go while virtual time passes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from anyio.to_thread import current_default_thread_limiter

from dispatcher.testing.errors import Unsettled
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.members import Member
from dispatcher.testing.observed import Observed
from dispatcher.testing.plan import Plan

__all__ = ["Driver"]


class Driver(Observed):
    """What both ways of testing share. Whatever lets time pass is a coroutine here."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        super().__init__(plan, loop)
        self._rng = random.Random(plan.seed)  # noqa: S311 - jitter guards nothing
        self._members: list[Member] = []
        self._made = 0
        self._bound = contextlib.ExitStack()

    @property
    def members(self) -> list[Member]:
        """Those that are in their groups, in the order of joining."""
        return [member for member in self._members if not member.is_gone]

    def join(self) -> Member:
        """Have one more member join the groups, as another process would: it rebalances them when time passes."""
        self._made += 1
        member = Member(
            self._made,
            self._plan.bindings,
            self.broker.log,
            self._recorder,
            app=self._plan.settings.app,
            settings=self._plan.settings,
            clock=self._clock,
            rng=self._rng,
            loop=self._loop,
        )
        self._members.append(member)
        return member

    def rebalance(self, function: Callable[..., Any] | str | None = None) -> None:
        """Have the members give up their partitions and take them again, in the next moment of virtual time."""
        for name in self._names(function):
            self.broker.rebalance(self._group(name))

    def resume(self, function: Callable[..., Any] | str | None = None) -> None:
        """Let a function go on that ``Retry(then="pause")`` has paused."""
        names = self._names(function)
        for member in self.members:
            for name in names:
                member.workers[name].resume()

    # -- what lets time pass

    async def _run(self, until: Callable[[], object] | None, at_most: float) -> None:
        def is_over() -> bool:
            if until is not None and until():
                return True
            left = self._unsettled()
            if not left and until is not None:
                raise Unsettled("run(until=...): everything is settled, and the condition does not hold")
            if left and all(left.values()):
                raise Unsettled(
                    f'{", ".join(left)} has paused, as Retry(then="pause") says, and nobody resumes it: call resume().'
                    f" At {self.elapsed:g} s:{self._listed()}"
                )
            return not left

        await self._wait(is_over, at_most=at_most)

    async def _advance(self, seconds: float) -> None:
        end = self._loop.time() + seconds
        timer = self._loop.call_at(end, lambda: None)
        try:
            await self._wait(lambda: self._loop.time() >= end, at_most=None)
        finally:
            timer.cancel()

    async def _leave(self, member: Member | None) -> None:
        leaver = self._living(member)
        leaver.stop()
        await self._wait(lambda: leaver.is_gone, at_most=None)

    async def _crash(self, member: Member | None) -> None:
        await self._living(member).kill()

    async def _open(self) -> None:
        limiter = current_default_thread_limiter()
        # anyio's threads don't go through the loop's run_in_executor().
        self._bound.enter_context(self._loop.waiting_for(lambda: limiter.borrowed_tokens > 0))
        self._bound.enter_context(self._loop.waiting_for(lambda: any(each.is_working() for each in self.members)))

    async def _close(self, *, at_once: bool) -> None:
        try:
            for member in self.members:
                member.stop()
            if self.members and not at_once:
                await self._wait(lambda: not self.members, at_most=None)
        finally:
            self._bound.close()
            for member in self.members:
                await member.kill()

    # -- inside

    def _living(self, member: Member | None) -> Member:
        members = self.members
        if member is None and members:
            return members[0]
        if member is None or member not in members:
            raise LookupError(f"{member or 'a member'} can't go: those that run are {members}")
        return member

    def _unsettled(self) -> dict[str, bool]:
        found = {}
        members = self.members
        for binding in self._plan.bindings:
            name = binding.name
            statistics = [member.workers[name].statistics() for member in members]
            if any(each.in_flight or each.waiting or each.parked for each in statistics) or not all(
                self.broker.behind(self._group(name), stream) == 0 for stream in self._consumed(binding)
            ):
                found[name] = all(each.state == "paused" and not each.in_flight for each in statistics)
        return found

    async def _wait(self, is_over: Callable[[], bool], *, at_most: float | None) -> None:
        """Let time pass until it is over, or for so many virtual seconds at the most."""
        if not self.members:
            self.join()
        future: asyncio.Future[None] = self._loop.create_future()

        def give_up(reason: str) -> None:
            if not future.done():
                future.set_exception(Unsettled(f"{reason}. At {self.elapsed:g} s:{self._listed()}"))

        def look() -> bool:
            if future.done():
                return False
            try:
                if error := next((error for each in self._members if (error := each.failure())), None):
                    future.set_exception(error)
                elif is_over():
                    future.set_result(None)
            except Exception as error:  # noqa: BLE001 - a condition of the test's own may raise anything
                future.set_exception(error)
            return future.done()

        with self._loop.looking(look), self._loop.watching(give_up), self._limit(at_most, give_up):
            await future

    @contextlib.contextmanager
    def _limit(self, seconds: float | None, give_up: Callable[[str], None]) -> Iterator[None]:
        timer = seconds and self._loop.call_later(seconds, give_up, f"not settled after {seconds:g} virtual seconds")
        try:
            yield
        finally:
            if timer:
                timer.cancel()
