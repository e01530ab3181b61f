"""A redrive as an operation: its filter and its ends are frozen, and written down, so that any machine can go on with it."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from dispatcher.brokers.base import Broker
from dispatcher.core.record import TopicPartition
from dispatcher.deadletters.journal import Journal
from dispatcher.deadletters.selection import Selection
from dispatcher.deadletters.shelf import Shelf
from dispatcher.errors import FilterError
from dispatcher.filters import Filter

__all__ = ["Operation", "load_operations", "store_operation"]

_KIND = "operation"
#: Failed letters that are written down; of more only the number.
MOST_FAILED = 200
# Seconds after its last word at which an operation is taken for dead, whoever else is in its group.
_SILENCE = 60.0

What = Literal["redrive", "drop", "edit"]
State = Literal["running", "done", "aborted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one command does to dead letters, and how far it is.

    Attributes:
        id: its name, unique for the app.
        what: what it does.
        shelf: whose letters.
        selection: which of them, frozen when it began.
        ends: where in each partition it ends; what was written later is not part of it.
        by: who began it, ``user@host``; ``started`` when, milliseconds since 1970-01-01 UTC.
        rate, limit, max_redrives: see :class:`dispatcher.deadletters.Clearing`.
        before: letters of the selection that were resolved when it began.
        going: letters that it was to clear.
        state: how it stands, ``updated`` since when.
        cleared: how many it has cleared, by the last word of its process.
        held: left alone, by why.
        failed: letters that could not be sent, with why; the first 200.
    """

    id: str
    what: What
    shelf: Shelf
    selection: Selection
    ends: Mapping[TopicPartition, int]
    by: str
    started: int
    rate: float | None = None
    limit: int | None = None
    max_redrives: int | None = None
    before: int = 0
    going: int = 0
    state: State = "running"
    updated: int = 0
    cleared: int = 0
    held: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def with_resolved(self, resolved: int) -> Self:
        """As it stands with so many of its selection resolved by now.

        What its process said last may be older than what it did last; what is resolved is what it did.
        """
        return replace(self, cleared=max(self.cleared, min(resolved - self.before, self.going)))

    @property
    def left_of_limit(self) -> int | None:
        """How many more it may clear; None for no limit."""
        return None if self.limit is None else max(0, self.limit - self.cleared)

    async def is_running(self, broker: Broker) -> bool:
        """Whether a process is at it."""
        if self.state != "running" or time.time() - self.updated / 1000 > _SILENCE:
            return False
        return await broker.group_members(self.shelf.group) > 0

    def as_json(self) -> dict[str, Any]:
        """As commands print it, and the journal holds it."""
        shelf, selection = self.shelf, self.selection
        return {
            "id": self.id,
            "what": self.what,
            "function": shelf.function,
            "topics": list(shelf.topics),
            "streams": None if shelf.streams is None else list(shelf.streams),
            "adopts": shelf.adopts,
            "filter": {
                "since_ms": selection.since_ms,
                "until_ms": selection.until_ms,
                "reasons": list(selection.reasons),
                "errors": list(selection.errors),
                "fingerprints": list(selection.fingerprints),
                "key_base64": None if selection.key is None else b64encode(selection.key).decode(),
                "where": None if selection.where is None else selection.where.expression,
                "letters": sorted(selection.places),
            },
            "ends": [[id_.topic, id_.partition, end] for id_, end in sorted(self.ends.items())],
            "by": self.by,
            "started_ms": self.started,
            "rate": self.rate,
            "limit": self.limit,
            "max_redrives": self.max_redrives,
            "before": self.before,
            "going": self.going,
            "state": self.state,
            "updated_ms": self.updated,
            "cleared": self.cleared,
            "held": dict(self.held),
            "failed": dict(list(self.failed.items())[:MOST_FAILED]),
            "failed_count": len(self.failed),
        }

    @classmethod
    def read(cls, app: str, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` made.

        Raises:
            ValueError: it is none; whoever may write to the journal may write anything.
        """
        try:
            said = document["filter"]
            return cls(
                id=_text(document["id"]),
                what=_one_of(document["what"], ("redrive", "drop", "edit")),
                shelf=Shelf(
                    app=app,
                    function=_text(document["function"]),
                    topics=tuple(map(_text, document["topics"])),
                    streams=None if document["streams"] is None else tuple(map(_text, document["streams"])),
                    adopts=document["adopts"] is True,
                ),
                selection=Selection(
                    since_ms=_number(said["since_ms"]),
                    until_ms=_number(said["until_ms"]),
                    reasons=tuple(map(_text, said["reasons"])),
                    errors=tuple(map(_text, said["errors"])),
                    fingerprints=tuple(map(_text, said["fingerprints"])),
                    key=None if said["key_base64"] is None else b64decode(said["key_base64"], validate=True),
                    where=None if said["where"] is None else Filter(_text(said["where"])),
                    places=frozenset(map(_text, said["letters"])),
                ),
                ends={TopicPartition(_text(t), int(p)): int(end) for t, p, end in document["ends"]},
                by=_text(document["by"]),
                started=int(document["started_ms"]),
                rate=None if document["rate"] is None else float(document["rate"]),
                limit=_number(document["limit"]),
                max_redrives=_number(document["max_redrives"]),
                before=int(document["before"]),
                going=int(document["going"]),
                state=_one_of(document["state"], ("running", "done", "aborted", "failed")),
                updated=int(document["updated_ms"]),
                cleared=int(document["cleared"]),
                held={_text(why): int(count) for why, count in document["held"].items()},
                failed={_text(place): _text(why) for place, why in document["failed"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, FilterError) as error:
            raise ValueError(f"no operation: {type(error).__name__}: {error}") from error


async def store_operation(broker: Broker, operation: Operation) -> None:
    """Write down how it stands now.

    Raises:
        BrokerError: it is not written; then it can't be resumed by its id.
    """
    now = replace(operation, updated=time.time_ns() // 1_000_000)
    await Journal(broker, operation.shelf.app).write(_KIND, operation.id, now.as_json())


async def load_operations(broker: Broker, app: str) -> dict[str, Operation]:
    """All operations of an app that the broker still knows, by id."""
    found = {}
    for document in (await Journal(broker, app).read(_KIND)).values():
        try:
            operation = Operation.read(app, document)
        except ValueError:
            continue
        found[operation.id] = operation
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _number(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no number")
    return value


def _one_of(value: object, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{value!r} is none of {known}")
    return value
