"""Whether a process goes on, and whether it is at its work: what ``/livez`` and ``/readyz`` answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from dispatcher.telemetry.measures import Measured, Vitals
from dispatcher.telemetry.periodic import Periodic

__all__ = ["Check", "Health", "Verdict"]

_INTERVAL = 1.0
_NOT_READY = {
    "joining": "is not in its consumer group",
    "draining": "finishes what is in flight",
    "stopped": "has stopped",
}


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: of what.
        ok: whether it is well.
        text: how it stands.
    """

    name: str
    ok: bool
    text: str


class Verdict(NamedTuple):
    """What all checks come to."""

    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(check.ok for check in self.checks)


class Loop(Protocol):
    """The watchdog of the event loop."""

    def lag(self) -> float:
        """Seconds that the loop is late at this moment."""


class _Progress:
    """One function: how it was when it was last looked at, and since when it has work in hand and completes nothing."""

    __slots__ = ("is_busy", "since", "vitals")

    def __init__(self, vitals: Vitals, now: float) -> None:
        self.vitals = vitals
        self.is_busy = False
        self.since = now

    def note(self, vitals: Vitals, now: float) -> None:
        self.is_busy = vitals.in_flight > 0 or vitals.is_stalled
        if not self.is_busy or vitals.ended != self.vitals.ended:
            self.since = now
        self.vitals = vitals

    def stuck(self, now: float) -> float:
        return now - self.since if self.is_busy else 0.0


class Health(Periodic):
    """Looks at the functions once a second, on the event loop, and tells any thread how they are. An async context manager.

    A function that is not alive is one that a restart would help: it has work in hand and completes nothing for longer than
    its ``timeout`` and ``grace`` together, or no longer asks the broker for events. One that waits is alive: for a broker
    that is away, a target that is left alone, an operator, a dead-letter topic that takes nothing.

    Args:
        workers: of this process.
        loop: the watchdog of the event loop.
        grace: seconds.
    """

    def __init__(self, workers: Sequence[Measured], loop: Loop, *, grace: float) -> None:
        super().__init__("health", min(_INTERVAL, grace / 2))
        self._workers = workers
        self._loop = loop
        self._grace = grace
        self._progress: dict[str, _Progress] = {}

    async def __aenter__(self) -> Self:
        # Before anybody can ask: a process of which nothing is known yet would be well.
        await self.look()
        return await super().__aenter__()

    def live(self) -> Verdict:
        """Whether this process goes on. From any thread."""
        now = time.monotonic()
        return Verdict([self._check_loop(), *(self._check_live(*each, now) for each in self._progress.items())])

    def ready(self) -> Verdict:
        """Whether every function is at its work. From any thread."""
        return Verdict([self._check_loop(), *(_check_ready(*each) for each in self._progress.items())])

    def stuck(self) -> dict[str, float]:
        """Function -> seconds since it has completed anything, while it has work in hand; else 0. From any thread."""
        now = time.monotonic()
        return {name: each.stuck(now) for name, each in self._progress.items()}

    async def look(self) -> None:
        """Note how each function is now."""
        now = time.monotonic()
        for worker in self._workers:
            vitals = worker.vitals()
            self._progress.setdefault(worker.name, _Progress(vitals, now)).note(vitals, now)

    def _check_loop(self) -> Check:
        lag = self._loop.lag()
        if lag > self._grace:
            return Check("event loop", ok=False, text=f"blocked for {lag:.0f} s")
        return Check("event loop", ok=True, text=f"{1000 * lag:.0f} ms late")

    def _check_live(self, name: str, progress: _Progress, now: float) -> Check:
        vitals, stuck = progress.vitals, progress.stuck(now)
        if stuck > vitals.timeout + self._grace:
            text = f"{vitals.in_flight} in flight, and nothing completed for {stuck:.0f} s"
            return Check(name, ok=False, text=text)
        silent = 0.0 if vitals.polled is None or vitals.state not in ("running", "paused") else now - vitals.polled
        if silent > vitals.drain + self._grace:
            return Check(name, ok=False, text=f"has not asked the broker for events for {silent:.0f} s")
        return Check(name, ok=True, text=f"{vitals.state}, {vitals.in_flight} in flight, {vitals.ended} ended")


def _check_ready(name: str, progress: _Progress) -> Check:
    state = progress.vitals.state
    return Check(name, ok=state not in _NOT_READY, text=_NOT_READY.get(state, state))
