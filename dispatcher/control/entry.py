"""One line of an app's control stream: who paused or resumed a function, when, and why."""

from __future__ import annotations

import getpass
import json
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from dispatcher.core.record import Record
from dispatcher.core.retries import PauseCause, Reason

__all__ = ["Action", "Entry", "control_topic", "decode", "encode", "whoami"]

Action = Literal["pause", "resume"]

#: Characters that are kept of a reason or of an error's message: an entry is small, whatever went wrong.
LONGEST_TEXT = 500
_VERSION = 1


def control_topic(app: str) -> str:
    """The stream of an app's control: one for each app, so that rights can be given for it alone."""
    return f"_dispatch.control.{app}"


def whoami() -> str:
    """``user@host``, of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What was said of one function.

    Attributes:
        function: its name in the app.
        action: what it is to do from now on.
        by: who said it: ``user@host``, or a name that was given.
        at: when, in milliseconds since 1970-01-01 UTC, by that machine's clock; the order is the log's.
        reason: why, in that person's words; empty for none given.
        event: the event over which the function has paused itself; None where a person said it.
        id: names the entry, and is the end of its key.
    """

    function: str
    action: Action
    by: str
    at: int
    reason: str = ""
    event: PauseCause | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def key(self) -> bytes:
        """Of its record. No two are alike, so that compaction keeps each, until a tombstone takes it."""
        return f"{self.function}:{self.id}".encode()

    @property
    def who(self) -> str:
        """Who said it: nobody is blamed for what a function did itself, in a process of theirs."""
        return self.by if self.event is None else f"itself ({self.by})"

    @property
    def why(self) -> str:
        """The reason given, or the event and what went wrong with it."""
        if self.event is None:
            return self.reason
        at = self.event
        return (
            f"{at.stream}/{at.partition}@{at.offset} is given up ({at.reason}, attempts: {at.attempts}):"
            f" {at.error_type}: {at.message}"
        )

    def as_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "function": self.function,
            "action": self.action,
            "by": self.by,
            "at": self.at,
            "reason": self.reason or None,
            "event": None if self.event is None else asdict(self.event),
        }


def encode(entry: Entry) -> bytes:
    """The value of its record: a JSON object, ``version`` 1."""
    said = entry.as_json()
    said["reason"] = entry.reason[:LONGEST_TEXT]
    if entry.event is not None:
        said["event"] = asdict(entry.event) | {"message": entry.event.message[:LONGEST_TEXT]}
    return json.dumps({"version": _VERSION, **said}).encode()


def decode(record: Record) -> Entry:
    """The entry that a record holds. What a later version adds is left out.

    Raises:
        ValueError: it is none; whoever may write to the topic may write anything.
    """
    try:
        function, _, id_ = (record.key or b"").decode().rpartition(":")
        said = json.loads(record.value or b"")
        entry = Entry(
            function=function,
            action=said["action"],
            by=_text(said["by"]),
            at=_number(said["at"]),
            reason=_text(said.get("reason") or ""),
            event=None if said.get("event") is None else _cause(said["event"]),
            id=id_,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if entry.action not in get_args(Action) or not function or said.get("function") != function:
        raise ValueError("no action of a function")
    return entry


def _cause(said: Mapping[str, Any]) -> PauseCause:
    return PauseCause(
        stream=_text(said["stream"]),
        partition=_number(said["partition"]),
        offset=_number(said["offset"]),
        reason=Reason(said["reason"]),
        attempts=_number(said["attempts"]),
        error_type=_text(said["error_type"]),
        message=_text(said["message"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value[:LONGEST_TEXT]


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no number")
    return value
