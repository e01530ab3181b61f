"""How much may run at once, how often, and when to leave a target alone."""

from __future__ import annotations

__all__ = ["Breaker", "Concurrency", "RateLimit"]


class Concurrency:
    """The limit of invocations in flight: additive increase, multiplicative decrease (RFC 5681's rule).

    A target that does not take deliveries halves it, at most once a second; each ``limit`` successes in a
    row then give one back, up to the configured maximum.
    """

    __slots__ = ("_calm", "_lowered", "limit", "maximum")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = maximum
        self._calm = 0
        self._lowered = float("-inf")

    def not_delivered(self, now: float) -> None:
        """The target did not take a delivery."""
        self._calm = 0
        if now - self._lowered >= 1.0:
            self._lowered = now
            self.limit = max(1, self.limit // 2)

    def delivered(self) -> None:
        """The target took one. Needs calling only while ``limit < maximum``."""
        self._calm += 1
        if self._calm >= self.limit and self.limit < self.maximum:
            self._calm = 0
            self.limit += 1


class RateLimit:
    """A token bucket: ``rate`` starts a second, with a burst of one second's worth (at least one)."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Take one token when there is one."""
        self._refill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def ready_at(self, now: float) -> float:
        """When the next token is there."""
        self._refill(now)
        return now if self._tokens >= 1.0 else now + (1.0 - self._tokens) / self._rate

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        # 0.1 + 0.2 is not 0.3: without this a bucket that should be exactly full never is, and the
        # clock of a caller that sleeps until ready_at() would stand still.
        if self._tokens > 0.999_999:
            self._tokens = max(self._tokens, 1.0)


class Breaker:
    """A circuit breaker: opens after ``threshold`` deliveries in a row that the target did not take.

    Open, nothing starts. After a wait of 1 s, doubled each time up to 30 s, or of the target's own
    Retry-After when that is longer, one delivery is let through; its success closes the breaker.
    """

    __slots__ = ("_failures", "_probing", "_reopen_at", "_threshold", "_wait")

    FIRST_WAIT = 1.0
    LONGEST_WAIT = 30.0

    def __init__(self, threshold: int = 5) -> None:
        self._threshold = threshold
        self._failures = 0
        self._reopen_at = 0.0
        self._wait = self.FIRST_WAIT
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether deliveries are held back, but for one probe at a time."""
        return self._failures >= self._threshold

    def allows(self, now: float) -> bool:
        """Whether one more delivery may start."""
        return not self.is_open or (not self._probing and now >= self._reopen_at)

    def started(self) -> None:
        """One delivery has started."""
        self._probing = self.is_open

    def ready_at(self, now: float) -> float | None:
        """When to ask again; None when only the end of a running delivery can change the answer."""
        if not self.is_open:
            return now
        return None if self._probing else max(now, self._reopen_at)

    def delivered(self) -> None:
        """The target took a delivery (whatever the function then said)."""
        self._failures = 0
        self._wait = self.FIRST_WAIT
        self._probing = False

    def not_delivered(self, now: float, retry_after: float | None) -> None:
        """The target did not take a delivery."""
        was_open, was_probe = self.is_open, self._probing
        self._probing = False
        self._failures += 1
        if self.is_open and (was_probe or not was_open):
            # Stragglers that started before it opened say nothing new, and must not stretch the wait.
            self._reopen_at = now + max(self._wait, min(retry_after or 0.0, self.LONGEST_WAIT))
            self._wait = min(self.LONGEST_WAIT, 2 * self._wait)
