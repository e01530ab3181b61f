"""How much may run at once, how often, and when to leave a target alone."""

from __future__ import annotations

from typing import Literal

__all__ = ["AdaptiveConcurrency", "Breaker", "Concurrency", "RateLimit"]


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

    def took(self, seconds: float, *, in_flight: int) -> None:
        """An invocation, one of so many, took so long; a limit that is set goes by nothing of it."""

    def delivered(self) -> None:
        """The target took one. Needs calling only while ``limit < maximum``."""
        self._calm += 1
        if self._calm >= self.limit and self.limit < self.maximum:
            self._calm = 0
            self.limit += 1


class AdaptiveConcurrency(Concurrency):
    """A limit that finds how many invocations a target takes before it slows down.

    Time and again it runs half as many for a moment, and so learns how long an answer takes when fewer wait for each other.
    Where half as many take about half as long, the half does as much, and it stays there and looks again. Else, between two looks,
    after each ``limit`` answers, in as many steps: ``limit += 0.2 * (limit * gradient + sqrt(limit) / 2 - limit)``, where
    ``gradient = 1.5 * time at half / time now``, between 0.5 and 1. So it grows while twice as many take no longer, and settles
    at about one and a half times of what the target works on at once. At first it doubles from look to look, until one
    shows that the target slows down.

    The step is that of Gradient2 in Netflix's concurrency-limits, github.com/Netflix/concurrency-limits, whose long average
    drifts up with an overload that lasts; averages, because events differ in how long they take. Only while the limit is used:
    idle times say nothing of what more would do. What the target did not take halves it, as above.
    """

    __slots__ = ("_at_half", "_between", "_count", "_exact", "_is_looking", "_is_new", "_left", "_recent", "_sum")

    INITIAL = 16
    _TOLERANCE = 1.5
    _SMOOTHING = 0.2
    #: The gradient below which it has found its target's limit, and doubles no more.
    _SLOWER = 0.9
    #: How many times as long as at half answers take when the half does as much: twice, but for noise.
    _OVERLOADED = 1.8
    #: Answers that make an average, at the least.
    _SAMPLE = 40
    #: Between two looks, in answers for each place: at first and after an overload, and twice as many each time up to
    _SOON, _BETWEEN = 2, 20

    def __init__(self, maximum: int) -> None:
        super().__init__(maximum)
        self._exact = float(min(self.INITIAL, maximum))
        self.limit = int(self._exact)
        self._recent = self._at_half = 0.0
        self._is_looking = False
        self._is_new = True
        self._between = self._SOON
        self._left = self._between * self.limit
        self._sum, self._count = 0.0, 0

    def took(self, seconds: float, *, in_flight: int) -> None:
        self._left -= 1
        if self._is_looking:
            self._look(seconds)
            return
        if not self._recent:
            self._recent = seconds
        self._recent += (seconds - self._recent) / max(self._SAMPLE, min(self._exact, 100.0))
        if in_flight < self.limit / 2:
            return
        if self._left <= 0 and self.limit > 1:
            self._is_looking = True
            self.limit = max(1, int(self._exact / 2))
            # What is in flight was started beside as many others: it tells nothing.
            self._count = max(self._SAMPLE, 2 * self.limit)
            self._left = in_flight + self._count
            self._sum = 0.0
            return
        # What was seen in a slower time says nothing: fewer never take longer.
        self._at_half = min(self._at_half, self._recent)
        gradient = 1.0
        if self._at_half and self.limit > 1:  # one alone waits for nobody
            gradient = max(0.5, min(1.0, self._TOLERANCE * self._at_half / (self._recent or self._at_half)))
        self._is_new = self._is_new and gradient > self._SLOWER
        step = 0.5 if self._is_new else self._SMOOTHING * (gradient - 1 + 0.5 / self._exact**0.5)
        self._exact = min(float(self.maximum), max(1.0, self._exact + step))
        self.limit = int(self._exact)

    def not_delivered(self, now: float) -> None:
        self.limit = int(self._exact)
        super().not_delivered(now)
        self._exact = float(self.limit)
        self._end_look()

    def delivered(self) -> None:
        """Its way up goes by times, not by successes."""

    def _look(self, seconds: float) -> None:
        if self._left < self._count:
            self._sum += seconds
        if self._left <= 0:
            self._at_half = self._sum / self._count
            if self._recent > self._OVERLOADED * self._at_half:
                self._exact = max(1.0, self._exact / 2)
                self._recent = self._at_half
                self._is_new = False
                self._between = self._SOON
            elif not self._is_new:
                self._between = min(self._BETWEEN, 2 * self._between)
            self._end_look()

    def _end_look(self) -> None:
        self._is_looking = False
        self.limit = int(self._exact)
        self._left = self._between * self.limit


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

    @property
    def state(self) -> Literal["closed", "open", "probing"]:
        """``probing`` while the one delivery runs that may close it."""
        if not self.is_open:
            return "closed"
        return "probing" if self._probing else "open"

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
