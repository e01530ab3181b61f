"""Events that must become dead letters, and what is compared when they have."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fleet import Fleet

from dispatcher.core.offsets import decode_metadata
from dispatcher.core.record import Committed, Outgoing, Record

__all__ = ["HEADERS", "letters", "lost_or_changed", "passed", "poison", "send"]

_ADDED = "dispatch-dead-"
#: What a careless copy would change: a repeated name, no value, bytes that are no text, an empty name.
HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("trace", b"\x00\xff\xfe"),
    ("trace", b"again"),
    ("none", None),
    ("", b""),
    ("größe", "grün".encode()),
)


def poison(stream: str, id_: int, partition: int, size: int = 0) -> Outgoing:
    """An event with a key of its own that its function rejects, with bytes in it that are no text."""
    value = b"%d 0 " % id_ + bytes(range(256)) + b"." * max(0, size - 256 - len(b"%d 0 " % id_))
    return Outgoing(topic=stream, key=b"poison-%d\xff" % id_, value=value, headers=HEADERS, partition=partition)


def send(fleet: Fleet, records: Iterable[Outgoing]) -> None:
    """Produce them all."""
    every = list(records)

    async def go(broker: object) -> None:
        producer = await broker.producer()  # type: ignore[attr-defined]
        outcomes = await producer.send_all(every)
        await producer.close()
        assert all(isinstance(each, tuple) for each in outcomes), outcomes

    fleet.ask(go)


def letters(fleet: Fleet) -> dict[tuple[int, int], list[Record]]:
    """What is in the dead-letter topic, by the partition and the offset that it says it comes from."""
    found: dict[tuple[int, int], list[Record]] = {}
    for record in fleet.records(f"{fleet.stream}.handle.dead"):
        added = dict(record.headers)
        where = int(added[f"{_ADDED}partition"] or b""), int(added[f"{_ADDED}offset"] or b"")
        found.setdefault(where, []).append(record)
    return found


def passed(commits: dict[int, Committed], pending: Collection[tuple[int, int]]) -> int:
    """How many of these (partition, offset) the commits say are done, by their offset or by their map."""
    count = 0
    for partition, offset in pending:
        if (commit := commits.get(partition)) is not None:
            done = decode_metadata(commit.offset, commit.metadata).done
            count += offset < commit.offset or any(start <= offset < stop for start, stop in done)
    return count


def lost_or_changed(events: Iterable[Record], written: dict[tuple[int, int], list[Record]]) -> int:
    """How many events have no dead letter that is theirs byte for byte, but for the headers that were added."""
    return sum(
        not any(_same(event, letter) for letter in written.get((event.partition, event.offset), ())) for event in events
    )


def _same(event: Record, letter: Record) -> bool:
    kept = [header for header in letter.headers if not header[0].startswith(_ADDED)]
    added = dict(letter.headers)
    return (
        (letter.key, letter.value, kept) == (event.key, event.value, list(event.headers))
        and added[f"{_ADDED}stream"] == event.topic.encode()
        and int(added[f"{_ADDED}timestamp"] or b"") == event.timestamp
    )
