"""The ledger: what every handler did, written by the processes under test, read by the judges.

Each process appends to a file of its own, one line when a handler starts and one when it ends, with one ``write`` each:
a ``kill -9`` loses none that was written, and a start with no end is a handler that was cut off.

=====  ====================================================================================
``S``  number, id, key, sequence in key, partition, offset, epoch, attempt, nanoseconds
``E``  number, ``ok`` or the error's type, nanoseconds
=====  ====================================================================================

Nanoseconds are those of ``CLOCK_MONOTONIC``, which all processes of a machine share. The epoch counts the assignments
that the process has seen.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bindings import Context, Event

__all__ = ["FOLDER", "INSTANCE", "Handling", "Ledger", "epoch", "handling", "value_of"]

#: The environment's names for where the ledger is, and for who writes.
FOLDER, INSTANCE = "FAULTS_LEDGER", "FAULTS_INSTANCE"


@dataclass(frozen=True, slots=True)
class Handling:
    """One call of a handler for one event; ``ended`` is None when it was cut off."""

    instance: str
    id: int
    key: str
    sequence: int
    partition: int
    offset: int
    epoch: int
    attempt: int
    started: int
    ended: int | None
    outcome: str

    @property
    def ok(self) -> bool:
        """Whether the handler returned."""
        return self.outcome == "ok"


# -- written by the processes under test


class _Epoch:
    """How many assignments this process has seen; the member's program counts them."""

    number = 0


epoch = _Epoch()
_file: int | None = None
_count = 0


def value_of(id: int, sequence: int, size: int = 0) -> bytes:  # noqa: A002 - the ledger's own word
    """The value of a record, filled to ``size`` bytes."""
    return b"%d %d " % (id, sequence) + b"." * max(0, size - 14)


def _append(line: str) -> None:
    global _file  # noqa: PLW0603 - one file a process
    if _file is None:
        path = Path(os.environ[FOLDER]) / f"{os.environ[INSTANCE]}.ledger"
        _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(_file, line.encode())


@contextmanager
def handling(event: Event[bytes], context: Context) -> Iterator[int]:
    """Write that a handler started, and how it ended; gives the record's id."""
    global _count  # noqa: PLW0603 - one numbering a process
    _count += 1
    number = _count
    id_, sequence = event.value.split(b" ", 2)[:2]
    key = (event.key or b"-").decode(errors="backslashreplace")
    _append(
        f"S {number} {int(id_)} {key} {int(sequence)} {event.partition} {event.offset}"
        f" {epoch.number} {context.attempt} {time.monotonic_ns()}\n"
    )
    outcome = "ok"
    try:
        yield int(id_)
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        _append(f"E {number} {outcome} {time.monotonic_ns()}\n")


# -- read by the judges


class Ledger:
    """All that the handlers wrote so far."""

    def __init__(self, handlings: Iterable[Handling]) -> None:
        self.handlings = sorted(handlings, key=lambda each: each.started)

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Read the files of all processes; a last line that is still being written is left out."""
        return cls(each for path in sorted(folder.glob("*.ledger")) for each in _read(path))

    def __len__(self) -> int:
        return len(self.handlings)

    def succeeded(self) -> set[int]:
        """The ids whose handler returned at least once."""
        return {each.id for each in self.handlings if each.ok}

    def missing(self, expected: Iterable[int]) -> list[int]:
        """The ids that no handler finished."""
        return sorted(set(expected) - self.succeeded())

    def attempts(self) -> Counter[int]:
        """How often the handler was called, by id."""
        return Counter(each.id for each in self.handlings)

    def repeated(self) -> int:
        """Calls for an event whose handler had already returned when they began: what was needlessly repeated."""
        done: dict[int, int] = {}
        for each in self.handlings:
            if each.ok and each.ended is not None:
                done[each.id] = min(each.ended, done.get(each.id, each.ended))
        return sum(each.id in done and each.started >= done[each.id] for each in self.handlings)

    def redelivered(self) -> int:
        """Calls beyond the first for an event, whatever became of the first."""
        return sum(count - 1 for count in self.attempts().values())

    def order_violations(self) -> tuple[int, int]:
        """(offsets that descend, handlings that overlap), within each ownership window of each key.

        A window is (instance, epoch, partition, key). A later attempt of the same event is no descent.
        """
        windows: dict[tuple[str, int, int, str], list[Handling]] = defaultdict(list)
        for each in self.handlings:
            windows[each.instance, each.epoch, each.partition, each.key].append(each)
        descents = overlaps = 0
        for window in windows.values():
            for before, after in pairwise(window):
                descents += after.offset < before.offset
                # A handler that was cut off ran to the end of its process.
                overlaps += before.ended is not None and after.started < before.ended
        return descents, overlaps

    def sequence_violations(self) -> int:
        """First successes of a key's events that came out of the order in which they were sent, over all processes."""
        first: dict[int, Handling] = {}
        for each in sorted(
            (each for each in self.handlings if each.ok and each.ended), key=lambda each: each.ended or 0
        ):
            first.setdefault(each.id, each)
        highest: dict[str, int] = {}
        violations = 0
        for each in first.values():
            violations += each.sequence < highest.get(each.key, -1)
            highest[each.key] = max(each.sequence, highest.get(each.key, -1))
        return violations

    def longest_silence(self, begin: int | None = None, end: int | None = None) -> float:
        """Seconds of the longest span with no handler that returned, between two times in nanoseconds."""
        ends = sorted(each.ended for each in self.handlings if each.ok and each.ended is not None)
        ends = [each for each in ends if (begin is None or each >= begin) and (end is None or each <= end)]
        every = [*([begin] if begin is not None else []), *ends, *([end] if end is not None else [])]
        return max((after - before for before, after in pairwise(every)), default=0) / 1e9

    def running(self, at: int) -> list[Handling]:
        """The handlings that were under way at a time in nanoseconds."""
        return [each for each in self.handlings if each.started <= at and (each.ended is None or each.ended > at)]

    def peak(self) -> int:
        """The most handlers that ran at one time, over all processes."""
        changes = sorted(
            change
            for each in self.handlings
            if each.ended is not None
            for change in ((each.started, 1), (each.ended, -1))
        )
        running = highest = 0
        for _, change in changes:
            running += change
            highest = max(highest, running)
        return highest


def _read(path: Path) -> Iterator[Handling]:
    started: dict[str, list[str]] = {}
    text = path.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():
        kind, number, *rest = line.split(" ")
        if kind == "S":
            started[number] = rest
        else:
            yield _handling(path.stem, started.pop(number), rest)
    for each in started.values():
        yield _handling(path.stem, each, None)


def _handling(instance: str, start: list[str], end: list[str] | None) -> Handling:
    id_, key, sequence, partition, offset, epoch_, attempt, at = start
    return Handling(
        instance=instance,
        id=int(id_),
        key=key,
        sequence=int(sequence),
        partition=int(partition),
        offset=int(offset),
        epoch=int(epoch_),
        attempt=int(attempt),
        started=int(at),
        ended=None if end is None else int(end[1]),
        outcome="cut off" if end is None else end[0],
    )
