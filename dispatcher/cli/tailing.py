"""Reading a stream for a person: from a position on, in a group that lives as long as the command."""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
import sys
from collections.abc import Collection
from typing import Any, NoReturn

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.core.record import Record, TopicPartition
from dispatcher.errors import OffsetOutOfRange
from dispatcher.telemetry.text import moment, printable
from dispatcher.times import Position, offsets_at

__all__ = ["Tail", "as_json", "as_line"]

_MOST_LEVELS = 256


class Tail:
    """Prints a stream's events; a rebalance listener that puts each partition to where reading begins.

    Args:
        broker: connected.
        stream: what to read.
        position: where from.
        limit: events after which it ends.
        follow: wait for more at the end; without it, the end is what stood there at the beginning.
        as_json: JSON lines rather than readable ones.
    """

    def __init__(
        self,
        broker: Broker,
        stream: StreamInfo,
        position: Position,
        *,
        limit: int | None = None,
        follow: bool = False,
        as_json: bool = False,
    ) -> None:
        self._broker = broker
        self._partitions = [TopicPartition(stream.name, number) for number in range(stream.partitions)]
        self._position = position
        self._left = limit
        self._follow = follow
        self._format = as_json_line if as_json else as_line
        self._assigned: set[TopicPartition] = set()
        self._starts: dict[TopicPartition, int] = {}
        self._reached: dict[TopicPartition, int] = {}
        self._consumer = broker.consumer(f"dispatch-tail-{secrets.token_hex(6)}", [stream.name], self)

    async def run(self) -> None:
        """Print until the end, the limit, or for ever."""
        ends = await self._broker.end_offsets(self._partitions)
        self._starts = (
            ends if self._position == "latest" else await offsets_at(self._broker, self._partitions, self._position)
        )
        self._reached = dict(self._starts)
        if not self._follow and not self._behind(ends):
            return
        await self._consumer.start()
        try:
            while self._left != 0 and (self._follow or self._behind(ends)):
                wanted = self._assigned if self._follow else self._assigned & self._behind(ends)
                await self._read(wanted, ends)
        finally:
            await self._consumer.close()

    def _behind(self, ends: dict[TopicPartition, int]) -> set[TopicPartition]:
        return {p for p in self._partitions if self._reached[p] < ends[p]}

    async def _read(self, wanted: Collection[TopicPartition], ends: dict[TopicPartition, int]) -> None:
        try:
            batches = await self._consumer.fetch(wanted, max_records=500, timeout=0.5)
        except OffsetOutOfRange as error:
            # Retention was faster: what is left begins later.
            partition = TopicPartition(error.stream, error.partition)
            begin = (await self._broker.beginning_offsets([partition]))[partition]
            self._reached[partition] = max(begin, self._reached[partition])
            self._consumer.seek(partition, self._reached[partition])
            return
        for partition, records in batches.items():
            for record in records:
                if self._left == 0 or (not self._follow and record.offset >= ends[partition]):
                    break
                sys.stdout.write(self._format(record) + "\n")
                if self._left is not None:
                    self._left -= 1
        sys.stdout.flush()
        for partition in wanted:
            position = self._consumer.position(partition)
            if position is not None:
                self._reached[partition] = max(position, self._reached[partition])

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begin at the start, or where this partition was left."""
        for partition in partitions:
            self._consumer.seek(partition, self._reached.setdefault(partition, 0))
        self._assigned |= set(partitions)

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Ask no more of them."""
        self._assigned -= set(partitions)


def as_line(record: Record) -> str:
    """One readable line; whatever the event holds, it is one line, and moves no cursor."""
    parts = [
        moment(record.timestamp),
        f"{record.topic}/{record.partition}@{record.offset}",
        f"key={_shown(record.key)}",
    ]
    parts += [f"{printable(name)}={_shown(value)}" for name, value in record.headers]
    return " ".join([*parts, _shown(record.value)])


def _shown(data: bytes | None) -> str:
    return "-" if data is None else printable(data.decode(errors="backslashreplace"))


def as_json(record: Record) -> dict[str, Any]:
    """An event as a JSON object. A key, value or header comes with the way in which it is written.

    ``value_type`` is ``json`` (the value itself), ``text``, ``base64`` (bytes that are not UTF-8) or ``null``; keys
    and headers are never read as JSON. Headers are a list, since a name may come more than once.
    """
    value, value_type = _written(record.value, as_json=True)
    key, key_type = _written(record.key, as_json=False)
    headers = []
    for name, content in record.headers:
        shown, kind = _written(content, as_json=False)
        headers.append({"name": name, "value": shown, "type": kind})
    return {
        "stream": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": key,
        "key_type": key_type,
        "value": value,
        "value_type": value_type,
        "headers": headers,
    }


def as_json_line(record: Record) -> str:
    """The same on a line, in ASCII."""
    return json.dumps(as_json(record))


def _written(data: bytes | None, *, as_json: bool) -> tuple[Any, str]:
    if data is None:
        return None, "null"
    if as_json and not _is_deep(data):
        try:
            return json.loads(data, parse_constant=_refuse, parse_float=_finite), "json"
        except (ValueError, RecursionError):
            pass
    try:
        return data.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def _is_deep(data: bytes) -> bool:
    """Whether it may be nested deeper than what can be read can also be written again, which recurses as well."""
    if data.count(b"[") + data.count(b"{") <= _MOST_LEVELS:
        return False
    level = deepest = 0
    for bracket in re.findall(rb"[\[{\]}]", data):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest > _MOST_LEVELS


def _finite(text: str) -> float:
    # 1e999, which Python reads as infinity.
    return number if math.isfinite(number := float(text)) else _refuse(text)


def _refuse(constant: str) -> NoReturn:
    # NaN and Infinity are Python's own: printed again they would be no JSON.
    raise ValueError(constant)
