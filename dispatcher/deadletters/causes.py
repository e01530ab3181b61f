"""Failures by their cause, read from the dead letters, with what people said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from dispatcher.brokers.base import Broker
from dispatcher.deadletters.fingerprint import masked
from dispatcher.deadletters.journal import Journal
from dispatcher.deadletters.letter import Letter
from dispatcher.deadletters.selection import Selection
from dispatcher.deadletters.shelf import Shelf
from dispatcher.errors import StreamNotFound

__all__ = ["Cause", "Mark", "causes_of", "mark", "marks_of"]

_KIND = "error"

#: What a person says of a cause.
Said = Literal["resolved", "ignored", "open"]
_SAID: tuple[Said, ...] = ("resolved", "ignored", "open")
#: ``returned``: it was resolved, and has come again since. ``cleared``: all its letters were sent back or dropped.
State = Literal["open", "returned", "resolved", "ignored", "cleared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a person said of a cause.

    Attributes:
        said: what.
        by: who, ``user@host``.
        at: when, milliseconds since 1970-01-01 UTC.
        why: in that person's words; empty for none.
        last_seen: when the last letter was written that the person can have seen, milliseconds by the broker's log.
    """

    said: Said
    by: str
    at: int
    why: str = ""
    last_seen: int = 0

    def as_json(self) -> dict[str, Any]:
        """As commands print it, and the journal holds it."""
        return {
            "said": self.said,
            "by": self.by,
            "at_ms": self.at,
            "why": self.why or None,
            "last_seen_ms": self.last_seen,
        }


@dataclass(slots=True, kw_only=True)
class Cause:
    """The failures of one function that have one fingerprint.

    Attributes:
        fingerprint: see :func:`dispatcher.deadletters.fingerprint.fingerprint`.
        shelf: where its letters rest.
        sample: the latest letter, one that is still to be dealt with where there is one.
        sample_open: whether that is so.
        letters: how many there are, and ``open`` how many nobody has dealt with.
        reasons: of all of them.
        first_seen, last_seen: when the first failed and the last letter was written, milliseconds.
        mark: what a person said of it; None for nothing.
    """

    fingerprint: str
    shelf: Shelf
    sample: Letter
    sample_open: bool = False
    letters: int = 0
    open: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_seen: int
    last_seen: int = 0
    mark: Mark | None = None

    @property
    def state(self) -> State:
        """How it stands: what was said holds until another letter is written, and ``ignored`` beyond that."""
        said = self.mark.said if self.mark is not None else "open"
        if said == "ignored":
            return "ignored"
        if said == "resolved" and self.mark is not None:
            return "returned" if self.last_seen > self.mark.last_seen else "resolved"
        return "open" if self.open else "cleared"

    @property
    def title(self) -> str:
        """The error in a line, without what differs from event to event."""
        return f"{self.sample.error_type}: {masked(self.sample.error_message)}"

    def add(self, letter: Letter, *, resolved: bool) -> None:
        """Count one more."""
        self.letters += 1
        self.open += not resolved
        self.reasons[letter.reason] += 1
        self.first_seen = min(self.first_seen, letter.first_failure or letter.written)
        self.last_seen = max(self.last_seen, letter.written)
        if (not resolved, letter.written) >= (self.sample_open, self.sample.written):
            self.sample, self.sample_open = letter, not resolved


async def causes_of(broker: Broker, shelf: Shelf, selection: Selection) -> dict[str, Cause]:
    """The causes of a function's dead letters by fingerprint, those that were dealt with too; none where it has no letters."""
    found: dict[str, Cause] = {}
    try:
        async with aclosing(shelf.letters(broker, selection, resolved=True)) as letters:
            async for letter, resolved in letters:
                cause = found.get(letter.fingerprint)
                if cause is None:
                    seen = letter.first_failure or letter.written
                    cause = Cause(fingerprint=letter.fingerprint, shelf=shelf, sample=letter, first_seen=seen)
                    found[letter.fingerprint] = cause
                cause.add(letter, resolved=resolved)
    except StreamNotFound:
        return {}
    return found


async def marks_of(broker: Broker, app: str) -> dict[str, Mark]:
    """What was said of causes, by fingerprint."""
    marks = {}
    for name, document in (await Journal(broker, app).read(_KIND)).items():
        if (read := _mark(document)) is not None:
            marks[name] = read
    return marks


async def mark(broker: Broker, app: str, cause: Cause, said: Mark) -> None:
    """Say something of a cause.

    Raises:
        BrokerError: it is not written.
    """
    facts = {"function": cause.sample.function, "error_type": cause.sample.error_type, "place": cause.sample.raised_at}
    await Journal(broker, app).write(_KIND, cause.fingerprint, facts | said.as_json())


def _mark(document: Mapping[str, Any]) -> Mark | None:
    said, at, seen = document.get("said"), document.get("at_ms"), document.get("last_seen_ms")
    if said not in _SAID or not isinstance(at, int) or not isinstance(seen, int):
        return None
    return Mark(said=said, by=str(document.get("by")), at=at, why=str(document.get("why") or ""), last_seen=seen)
