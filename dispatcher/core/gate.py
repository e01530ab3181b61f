"""Whether one more invocation may start, as far as its target goes: concurrency, rate, breaker, and an operator's pause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bindings import Binding
from bindings.failure import Failure, FailureKind
from dispatcher.core.flow import AdaptiveConcurrency, Breaker, Concurrency, RateLimit

__all__ = ["Gate"]


class Gate:
    """What holds invocations back.

    Attributes:
        limit: how many may be in flight; 0 while paused.
        paused: none may.
        is_asked: more than ``limit`` is to be looked at: :meth:`may_start`. False nearly always, so that an event pays nothing.
    """

    __slots__ = ("_breaker", "_concurrency", "_rate", "is_asked", "limit", "paused")

    def __init__(self, binding: Binding, now: float) -> None:
        is_adaptive = binding.concurrency == "auto"
        self._concurrency = AdaptiveConcurrency(binding.places) if is_adaptive else Concurrency(binding.places)
        self._breaker = Breaker()
        self._rate = RateLimit(binding.rate, now) if binding.rate else None
        self.is_asked = self._rate is not None
        self.limit = self._concurrency.limit
        self.paused = False

    @property
    def breaker(self) -> Literal["closed", "open", "probing"]:
        """Whether the target is left alone: open, but for the one delivery that may tell that it is back."""
        return self._breaker.state

    @property
    def maximum(self) -> int:
        """The most invocations that may ever be in flight: what an adaptive limit can rise to."""
        return self._concurrency.maximum

    @property
    def allowed(self) -> int:
        """How many invocations may be in flight, whether paused or not."""
        return self._concurrency.limit

    def may_start(self, now: float, *, peek: bool = False) -> bool:
        """Whether one may, as far as rate and breaker go; it is counted as started unless this is only a look."""
        if not self._breaker.allows(now):
            return False
        if self._rate is not None and (self._rate.ready_at(now) > now if peek else not self._rate.take(now)):
            return False
        if not peek:
            self._breaker.started()
        return True

    def opens_at(self, now: float) -> float | None:
        """When to ask again; None when only the end of a running delivery can change the answer."""
        opens = self._breaker.ready_at(now)
        if opens is None or self._rate is None:
            return opens
        return max(opens, self._rate.ready_at(now))

    def pause(self) -> None:
        """Nothing may start until :meth:`resume`."""
        self.paused = True
        self.limit = 0

    def resume(self) -> None:
        """It may again."""
        self.paused = False
        self.limit = self._concurrency.limit

    def took(self, seconds: float, *, in_flight: int) -> None:
        """An invocation, one of so many, took so long to its answer: what ``concurrency="auto"`` goes by."""
        self._concurrency.took(seconds, in_flight=in_flight)
        self._apply()

    def delivered(self) -> None:
        """The target took a delivery. Needs calling only while ``is_asked``."""
        self._breaker.delivered()
        self._concurrency.delivered()
        self._apply()
        self.is_asked = self._rate is not None or self._concurrency.limit < self._concurrency.maximum

    def heed(self, rest: Failure | None, named: Mapping[int, Failure], now: float) -> None:
        """Note by an invocation's failures whether the target took it."""
        for failure in (rest, *named.values()):
            if failure is not None and failure.kind is FailureKind.NOT_DELIVERED:
                self._breaker.not_delivered(now, failure.retry_after)
                self._concurrency.not_delivered(now)
                self.is_asked = True
                self._apply()
                return
        if self.is_asked:
            self.delivered()

    def _apply(self) -> None:
        if not self.paused:
            self.limit = self._concurrency.limit
