"""When and how what is done is committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from dispatcher.brokers.base import Consumer
from dispatcher.core.counters import Counters
from dispatcher.core.offsets import METADATA_LIMIT
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.core.scheduler import Scheduler
from dispatcher.errors import BrokerUnavailable, CommitRefused, MetadataTooLarge
from dispatcher.telemetry.throttle import Throttle

__all__ = ["Commits"]

logger = logging.getLogger("dispatcher.worker")

# Events done after which a commit does not wait for its interval: what a kill -9 makes come again is bounded however fast
# they are. At 10,000 a second an interval of 0.5 s alone had 5,100 of 200,000 delivered again.
_MUCH = 2_000
# Seconds between two commits at the least: one costs about a millisecond of the loop.
_GAP = 0.05


class Commits:
    """The commits of one function: steadily, and whenever they are asked for.

    Args:
        name: the function's, for the log.
        scheduler: says what to commit.
        counters: of the function.
        interval: seconds between two commits; sooner when much is done.

    Attributes:
        consumer: with which to commit; None while there is none, and nothing is committed.
    """

    def __init__(self, name: str, scheduler: Scheduler, counters: Counters, interval: float) -> None:
        self.consumer: Consumer | None = None
        self._name = name
        self._scheduler = scheduler
        self._counters = counters
        self._interval = interval
        self._committing = asyncio.Lock()
        self._is_much = asyncio.Event()
        self._done = 0
        self._throttle = Throttle(10.0)

    def look(self) -> None:
        """Have the next commit made soon when much was done since the last; called after each fetch, so it costs nothing."""
        if self._counters.done - self._done >= _MUCH:
            self._is_much.set()

    async def steadily(self) -> None:
        """Commit again and again, until it is cancelled."""
        gap = min(_GAP, self._interval)
        while True:
            await asyncio.sleep(gap)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval - gap):
                    await self._is_much.wait()
            self._is_much.clear()
            self._done = self._counters.done
            await self.now()

    async def now(self) -> None:
        """Commit what changed since the last time. A commit that fails is logged: the next one says it all again."""
        async with self._committing:
            while (due := self._scheduler.due_commits()) and self.consumer is not None:
                try:
                    await self.consumer.commit(due)
                except MetadataTooLarge:
                    self._shorten(due)
                    continue
                except CommitRefused as error:
                    logger.info("%s: not committed, the partitions have gone: %s", self._name, error)
                except BrokerUnavailable as error:
                    if (more := self._throttle.admits("commit")) is not None:
                        times = f" ({more} times)" if more else ""
                        logger.warning("%s: could not commit%s: %s", self._name, times, error)
                else:
                    self._scheduler.committed(due)
                    self._counters.commits += 1
                return

    def _shorten(self, refused: Mapping[TopicPartition, Committed]) -> None:
        """Let commits carry a little less metadata than was too large for the broker, which does not say what it takes."""
        if self._scheduler.metadata_limit == METADATA_LIMIT:
            logger.warning(
                "%s: the broker takes less metadata with a commit than Kafka's default (offset.metadata.max.bytes=%d):"
                " of what is done out of order, what does not fit is delivered again after a crash or a rebalance",
                self._name, METADATA_LIMIT,
            )  # fmt: skip
        longest = max(len(commit.metadata) for commit in refused.values())
        # Base64 is made of fours. From the default down to a hundredth of it takes 70 commits, a fraction of a second.
        self._scheduler.metadata_limit = longest - max(4, longest // 16)
