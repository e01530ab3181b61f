"""Which dead letters are meant."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.deadletters.letter import Letter
from dispatcher.errors import FilterEvaluationError
from dispatcher.filters import Filter

__all__ = ["Selection"]


@dataclass(slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant; all of what is given has to hold.

    Args:
        since_ms, until_ms: written at or after, and before, milliseconds since 1970-01-01 UTC.
        reasons: one of these.
        errors: the error's type is one of these, whole or its last name.
        fingerprints: of the same cause as these; the first digits are enough.
        key: the event's key.
        where: over the original event.
        places: ``[TOPIC/]PARTITION@OFFSET`` of the letters themselves.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    reasons: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    key: bytes | None = None
    where: Filter | None = None
    places: frozenset[str] = frozenset()
    #: Letters for which ``where`` had no answer; they are left out.
    unanswered: int = field(default=0, init=False)

    def matches(self, letter: Letter) -> bool:
        """Whether this one is meant."""
        if self.since_ms is not None and letter.written < self.since_ms:
            return False
        if self.until_ms is not None and letter.written >= self.until_ms:
            return False
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.errors and not {letter.error_type, letter.error_type.rpartition(".")[2]} & set(self.errors):
            return False
        if self.fingerprints and not letter.fingerprint.startswith(self.fingerprints):
            return False
        if self.key is not None and letter.origin.key != self.key:
            return False
        if self.places and not {letter.place, f"{letter.id.partition}@{letter.offset}"} & self.places:
            return False
        if self.where is None:
            return True
        try:
            return self.where.matches(letter.origin)
        except FilterEvaluationError:
            self.unanswered += 1
            return False
