"""Which letters of one partition are resolved: sent back, or dropped.

A log can't delete, so that is kept beside it: as the committed offset of the group ``<app>.<function>.redrive``, the
lowest letter that is not resolved, and beyond it a map in the commit's metadata, in the form of
:mod:`dispatcher.core.offsets`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Self

from dispatcher.core.offsets import OffsetMap, decode_metadata, fit_metadata
from dispatcher.core.record import Committed

__all__ = ["Ledger"]


class Ledger:
    """The resolved letters of one partition.

    Invariants:
        * ``position`` is not resolved, and everything below it is;
        * the ranges beyond it are ascending, and none touches another.

    Args:
        position: everything below it is resolved.
        done: half-open ranges beyond it that are resolved too.
    """

    def __init__(self, position: int, done: Iterable[tuple[int, int]] = ()) -> None:
        self.position = position
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in done:
            self.resolve(start, stop)

    @classmethod
    def load(cls, commit: Committed | None, begin: int) -> Self:
        """Read a commit; ``begin`` is where the log begins, and what retention has deleted counts as resolved.

        Raises:
            InvalidOffsetMetadata: another program wrote the commit.
        """
        if commit is None:
            return cls(begin)
        ledger = cls(commit.offset, decode_metadata(commit.offset, commit.metadata).done)
        if begin > ledger.position:
            ledger.resolve(ledger.position, begin)
        return ledger

    def is_resolved(self, offset: int) -> bool:
        """Whether the letter at ``offset`` was sent back or dropped."""
        if offset < self.position:
            return True
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset < self._stops[index]

    def resolve(self, start: int, stop: int | None = None) -> None:
        """Mark the letter at ``start``, or all from it to before ``stop``."""
        start, stop = max(start, self.position), start + 1 if stop is None else stop
        if stop <= start:
            return
        # Those that touch the new range become one with it.
        low, high = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        if low < high:
            start, stop = min(start, self._starts[low]), max(stop, self._stops[high - 1])
        self._starts[low:high], self._stops[low:high] = [start], [stop]
        if self._starts[0] <= self.position:
            self.position = self._stops[0]
            del self._starts[0], self._stops[0]

    def commit(self) -> tuple[Committed, bool]:
        """What to commit, and whether it says all: False when the map is larger than the broker takes."""
        metadata, whole = fit_metadata(self.position, OffsetMap(list(zip(self._starts, self._stops, strict=True))))
        return Committed(self.position, metadata), whole

    def copy(self) -> Ledger:
        """Another one, to try something out."""
        return Ledger(self.position, zip(self._starts, self._stops, strict=True))
