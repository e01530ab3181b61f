"""The way in: ``with dispatching(function) as test``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from bindings import Binding
from dispatcher.config import Settings
from dispatcher.errors import ConfigurationError
from dispatcher.testing.driving import Driver
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.members import Member
from dispatcher.testing.plan import Plan, resolve

__all__ = ["AsyncDispatching", "Dispatching", "dispatching"]

#: The same in each run, and a Wednesday at noon: no month, week or day changes within hours of it.
_START = datetime(2025, 1, 15, 12, tzinfo=UTC)


class Dispatching(Driver):
    """What ``with dispatching(...)`` gives: the functions under test, and the time they run in.

    Virtual time passes in :meth:`run`, :meth:`advance` and :meth:`leave`, and stands still between them.
    """

    def __init__(self, plan: Plan, runner: asyncio.Runner, loop: VirtualLoop) -> None:
        super().__init__(plan, loop)
        self._runner = runner

    def run(self, *, until: Callable[[], object] | None = None, at_most: float = 86_400.0) -> None:
        """Let virtual time pass until everything sent is settled: handled, a dead letter, dropped or filtered out.

        Args:
            until: end when this holds instead; looked at whenever nothing is ready to run.
            at_most: virtual seconds.

        Raises:
            Unsettled: it can't come to that: a function has paused itself, ``until`` does not hold though all is settled,
                or the time is over. The message lists what is pending.
            DispatchError: a worker can't go on.
        """
        self._runner.run(self._run(until, at_most))

    def advance(self, seconds: float) -> None:
        """Let this much virtual time pass, whatever is settled by then."""
        self._runner.run(self._advance(seconds))

    def leave(self, member: Member | None = None) -> None:
        """Stop a member as SIGTERM would: it drains, commits and leaves its groups; the others take over.

        Args:
            member: which; the one that joined first, when it is not given.
        """
        self._runner.run(self._leave(member))

    def crash(self, member: Member | None = None) -> None:
        """Drop a member with no drain and no commit, as ``kill -9`` would; its functions are cancelled where they wait.

        What it did since its last commit (half a second at the most) is done again. Its partitions are free at once: real
        groups find out after their session timeout. When it was the only member, the next :meth:`run` begins with a new one.

        Args:
            member: which; the one that joined first, when it is not given.
        """
        self._runner.run(self._crash(member))


class AsyncDispatching(Driver):
    """What ``async with dispatching(...)`` gives. Time passes wherever the test awaits, on the loop of the test itself."""

    async def run(self, *, until: Callable[[], object] | None = None, at_most: float = 86_400.0) -> None:
        """See :meth:`Dispatching.run`."""
        await self._run(until, at_most)

    async def advance(self, seconds: float) -> None:
        """See :meth:`Dispatching.advance`."""
        await self._advance(seconds)

    async def leave(self, member: Member | None = None) -> None:
        """See :meth:`Dispatching.leave`."""
        await self._leave(member)

    async def crash(self, member: Member | None = None) -> None:
        """See :meth:`Dispatching.crash`."""
        await self._crash(member)


class _Opening:
    """Between ``dispatching(...)`` and its ``with``: which of the two says how the test runs."""

    def __init__(self, plan: Plan, patience: float) -> None:
        self._plan = plan
        self._patience = patience
        self._opened: Dispatching | AsyncDispatching | None = None
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Dispatching:
        if _running_loop() is not None:
            raise RuntimeError(
                "an event loop is running here: make the test a plain def, or write `async with dispatching(...)` in a test"
                " that runs on a VirtualLoop (docs/testing.md says how)"
            )
        loop = VirtualLoop(patience=self._patience)
        self._runner = asyncio.Runner(loop_factory=lambda: loop)
        try:
            opened = Dispatching(self._plan, self._runner, loop)
            self._runner.run(opened._open())  # noqa: SLF001 - the two are one
        except BaseException:
            self._runner.close()
            raise
        self._opened = opened
        return opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None and self._opened is not None:
            with self._runner as runner:
                runner.run(self._opened._close(at_once=kind is not None))  # noqa: SLF001 - the two are one

    async def __aenter__(self) -> AsyncDispatching:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise RuntimeError(  # noqa: TRY004 - the type is right, the time is not
                f"this test runs on a {type(loop).__name__}, whose time is real: have it run on a VirtualLoop"
                " (docs/testing.md says how), or make it a plain def with `with dispatching(...)`"
            )
        opened = AsyncDispatching(self._plan, loop)
        await opened._open()  # noqa: SLF001 - the two are one
        self._opened = opened
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened._close(at_once=kind is not None)  # noqa: SLF001 - the two are one


def dispatching(
    *functions: Callable[..., Any] | Binding,
    app: str = "test",
    partitions: int | Mapping[str, int] = 1,
    start: datetime = _START,
    seed: int = 0,
    settings: Settings | None = None,
    streams: Sequence[str] = (),
    patience: float = 30.0,
) -> _Opening:
    """Run functions on the real dispatcher, with a broker in memory and virtual time.

    >>> from bindings import Retry, on_stream
    >>> from dispatcher.testing import dispatching
    >>> @on_stream("orders.enriched", retry=Retry(max_attempts=3, initial=20.0, jitter="none"))
    ... def check_limit(order: dict) -> None:
    ...     raise ConnectionError("the limits are not to be had")
    >>> with dispatching(check_limit) as test:
    ...     event = test.send("orders.enriched", {"household": 1}, key="1")
    ...     test.run()
    ...     [call.started for call in test.attempts(event)], test.dead_letters[0].reason
    ([0.0, 20.0, 60.0], 'attempts')

    ``with`` is for plain tests and gives a :class:`Dispatching`; ``async with`` is for tests that run on a
    :class:`VirtualLoop` and gives an :class:`AsyncDispatching`. At the end the members drain; when the test has failed, they
    are dropped.

    Args:
        functions: decorated with ``@on_stream``, or bindings.
        app: the app's name; with a function's it makes its consumer group.
        partitions: of each stream that they consume, or by name (1 for those that are not named).
        start: the time of day when the test begins, an aware datetime.
        seed: of the jitter, so that each run waits the same.
        settings: of the process, such as ``Settings(drain=5.0, max_poll_records=1)``; its app is the one above.
        streams: others to create, such as one that a function reads by itself.
        patience: real seconds after which a test that stands still is an error. For ``async with`` the loop's counts.

    Raises:
        TypeError: one of them is not decorated.
        ConfigurationError: two have the same name, or ``start`` has no time zone.
    """
    if start.tzinfo is None:
        raise ConfigurationError("start= needs a time zone: datetime(2025, 1, 15, tzinfo=UTC)")
    plan = Plan(
        bindings=resolve(functions),
        settings=replace(settings or Settings(), app=app),
        partitions=partitions,
        start=start,
        seed=seed,
        streams=tuple(streams),
    )
    return _Opening(plan, patience)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
