"""The time language of the commands: one parser for every ``--from``, ``--to``, ``--since`` and ``--until``.

==============  =============================================================
``-2h``         a span back from now; also ``ms``, ``s``, ``m``, ``d``, ``w``
ISO 8601        a time with its zone, such as ``2026-03-01T12:00:00Z``
``earliest``    where the log begins
``now``         this moment; ``latest`` is the same: where the log ends
``@OFFSET``     an offset, in each partition
==============  =============================================================
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the commands' options read times, and their help is there at once
    from dispatcher.brokers.base import Broker
    from dispatcher.core.record import TopicPartition

__all__ = ["Position", "offsets_at", "parse_moment", "parse_position"]

#: A place in each partition of a log.
Position = Literal["earliest", "latest"] | int | datetime

_LANGUAGE = "-2h (a span back: ms, s, m, h, d, w), an ISO 8601 time with its zone, earliest, now"


def parse_position(text: str, *, now: datetime | None = None) -> Position:
    """Read a place in a log; ``now`` is what spans count from, this moment when left out.

    Raises:
        ValueError: it is none of the language.
    """
    if text.startswith("@"):
        if not (text[1:].isascii() and text[1:].isdecimal()):
            raise ValueError(f"{text!r} is not @ and an offset, such as @1200")
        return int(text[1:])
    if text == "now":
        return "latest"
    from bindings.policies import parse_start

    try:
        start = parse_start(text)
    except ValueError as error:
        raise ValueError(_explain(text, str(error), f"{_LANGUAGE} or @OFFSET")) from None
    return (now or datetime.now(UTC)) - start if isinstance(start, timedelta) else start


def parse_moment(text: str, *, now: datetime | None = None) -> datetime:
    """Read a time, where an offset would mean nothing; ``earliest`` is the year 1970.

    Raises:
        ValueError: it is none of the language.
    """
    now = now or datetime.now(UTC)
    if text.startswith("@"):
        raise ValueError(f"{text!r} is an offset, and this takes a time: {_LANGUAGE}")
    found = parse_position(text, now=now)
    if found == "earliest":
        return datetime.fromtimestamp(0, UTC)
    return found if isinstance(found, datetime) else now


async def offsets_at(
    broker: Broker, partitions: Collection[TopicPartition], position: Position
) -> dict[TopicPartition, int]:
    """The offset at which a position lies in each partition, within what the log holds.

    Raises:
        BrokerError: the broker could not be asked.
    """
    if position == "earliest":
        return await broker.beginning_offsets(partitions)
    ends = await broker.end_offsets(partitions)
    if isinstance(position, int):
        begins = await broker.beginning_offsets(partitions)
        return {id_: min(max(position, begins[id_]), ends[id_]) for id_ in partitions}
    if isinstance(position, datetime):
        found = await broker.offsets_for_time(partitions, int(position.timestamp() * 1000))
        # No record is that young: the next one will be.
        return {id_: ends[id_] if (offset := found[id_]) is None else offset for id_ in partitions}
    return ends


def _explain(text: str, reason: str, language: str) -> str:
    if "time zone" in reason:
        full = text if ":" in text else f"{text}T00:00"
        return f"{text!r} has no time zone: add one, such as {full}Z or {full}+02:00"
    if "span back" in reason and text.startswith("-") and text[-1:].isalpha():
        return f"{text!r} is not a span back of more than 0 and 100 years at most, such as -90s, -15m, -2h or -7d"
    return f"{text!r} is not a time: {language}"
