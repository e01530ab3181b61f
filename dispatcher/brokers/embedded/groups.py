"""Consumer groups in the log. Plain functions that run inside a write transaction, with the time passed in.

The protocol is Kafka's eager one, with the file in the place of the coordinator. A group is *stable* in a generation,
or *preparing* the next (``deadline`` is set). Whatever calls for a new assignment - a member that joins, leaves or goes
silent, a stream that gains partitions - makes the group prepare. Each member then gives up its partitions and says that
it is ready; whoever finds all of them ready assigns, and the generation goes up by one.

Invariants, each held by the transaction that would break it:

- a partition belongs to one member of a generation at most;
- a commit is taken from a member of the current generation alone, while it prepares the next included;
- a member that is silent for its session timeout, whose process has died, or that is not ready by the deadline, is out.

Times are those of the monotonic clock, which all processes of a machine share; after a reboot it begins anew, so that a
time in the future belongs to the dead.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dispatcher.brokers.embedded import catalog, log
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import CommitRefused

__all__ = [
    "Held",
    "View",
    "commit",
    "committed",
    "heartbeat",
    "join",
    "leave",
    "live_members",
    "new_member_id",
    "set_offsets",
    "tick",
]


class Held(NamedTuple):
    """A partition as it is assigned: the log's id, and where the group stands in it."""

    partition: TopicPartition
    log_id: int
    position: int


@dataclass(frozen=True, slots=True)
class View:
    """A group as one of its members sees it.

    Attributes:
        member: False when this member is out of the group and has to join again.
        preparing: whether partitions are to be given up now.
        generation: the number of the current assignment.
        assigned: what the member has in that generation; empty while preparing.
        missing: a stream that it consumes and that does not exist (any more), or None.
    """

    member: bool
    preparing: bool = False
    generation: int = 0
    assigned: tuple[Held, ...] = ()
    missing: str | None = None


_OUT = View(member=False)


def new_member_id() -> int:
    """An id for :func:`join`, in the order of joining.

    The member makes it, not the table, so that one whose join is cancelled on its way still knows whom to take out.
    """
    return (time.time_ns() & ~0xFFFFF) | secrets.randbits(20)


def join(
    db: sqlite3.Connection,
    group: str,
    member_id: int,
    streams: Sequence[str],
    session_timeout: float,
    rebalance_timeout: float,
    now: float,
) -> None:
    """Become a member of that id.

    Raises:
        StreamNotFound: one of the streams does not exist.
    """
    ids = {}
    for name in streams:
        stream = catalog.find(db, name)
        if stream is None:
            raise catalog.missing(db, name)
        ids[name] = stream.id
    db.execute("INSERT OR IGNORE INTO groups (name) VALUES (?)", (group,))
    group_id = _group_id(db, group)
    db.execute(
        "INSERT INTO members (id, group_id, streams, host, pid, session_timeout, seen_at, ready) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (member_id, group_id, json.dumps(ids), _host(), os.getpid(), session_timeout, now),
    )
    _prepare(db, group_id, now + rebalance_timeout)


def tick(
    db: sqlite3.Connection, group: str, member_id: int, *, ready: bool, rebalance_timeout: float, now: float
) -> View:
    """Show that the member lives, move the group on as far as it can go, and look at it.

    ``ready`` says that the member holds nothing, so that a group that prepares need not wait for it.
    """
    group_id = _group_id(db, group)
    if not _is_member(db, member_id):
        return _OUT
    db.execute("UPDATE members SET seen_at = ? WHERE id = ?", (now, member_id))
    deadline = db.execute("SELECT deadline FROM groups WHERE id = ?", (group_id,)).fetchone()[0]
    members = db.execute(
        "SELECT id, host, pid, seen_at, session_timeout, ready FROM members WHERE group_id = ?", (group_id,)
    ).fetchall()
    for other_id, host, pid, seen_at, session_timeout, other_ready in members:
        late = deadline is not None and now >= deadline and not other_ready and not (other_id == member_id and ready)
        if late or not _lives(host, pid, seen_at, session_timeout, now):
            db.execute("DELETE FROM members WHERE id = ?", (other_id,))
            _prepare(db, group_id, now + rebalance_timeout)
    layout = _layout(db, group_id)
    if db.execute("SELECT layout FROM groups WHERE id = ?", (group_id,)).fetchone()[0] != json.dumps(layout):
        _prepare(db, group_id, now + rebalance_timeout)
    if not _is_member(db, member_id):
        return _OUT
    if ready and _is_preparing(db, group_id):
        db.execute("UPDATE members SET ready = 1 WHERE id = ?", (member_id,))
    _assign_when_ready(db, group_id, layout)
    return _view(db, group_id, member_id)


def heartbeat(db: sqlite3.Connection, member_id: int, now: float) -> None:
    """Show that the member lives."""
    db.execute("UPDATE members SET seen_at = ? WHERE id = ?", (now, member_id))


def leave(db: sqlite3.Connection, group: str, member_id: int, rebalance_timeout: float, now: float) -> None:
    """Be a member no longer, so that the others need not wait for the session timeout."""
    if not _is_member(db, member_id):
        return
    group_id = _group_id(db, group)
    db.execute("DELETE FROM members WHERE id = ?", (member_id,))
    _prepare(db, group_id, now + rebalance_timeout)
    _assign_when_ready(db, group_id, _layout(db, group_id))


def commit(
    db: sqlite3.Connection, group: str, member_id: int, generation: int, offsets: Mapping[int, Committed]
) -> None:
    """Commit offsets by log id.

    Raises:
        CommitRefused: the member is out, or the group is in another generation.
    """
    row = db.execute("SELECT id, generation FROM groups WHERE name = ?", (group,)).fetchone()
    if not _is_member(db, member_id):
        raise CommitRefused(f"this consumer is no longer a member of {group}; its partitions have gone to others")
    if row[1] != generation:
        raise CommitRefused(f"{group} is in generation {row[1]}, and this commit is of generation {generation}")
    db.executemany(
        "INSERT OR REPLACE INTO offsets (group_id, log_id, offset, metadata) VALUES (?, ?, ?, ?)",
        [(row[0], log_id, offset, metadata) for log_id, (offset, metadata) in offsets.items()],
    )


def committed(db: sqlite3.Connection, group: str, partition: TopicPartition) -> Committed | None:
    """What the group has committed for the partition."""
    row = db.execute(
        "SELECT o.offset, o.metadata FROM offsets o JOIN groups g ON g.id = o.group_id JOIN logs l ON l.id = o.log_id "
        "JOIN streams s ON s.id = l.stream_id WHERE g.name = ? AND s.name = ? AND l.partition = ?",
        (group, *partition),
    ).fetchone()
    return None if row is None else Committed._make(row)


def live_members(db: sqlite3.Connection, group: str, now: float) -> int:
    """How many members of the group are neither silent nor dead; 0 for a group that is not there."""
    rows = db.execute(
        "SELECT host, pid, seen_at, session_timeout FROM members m JOIN groups g ON g.id = m.group_id WHERE g.name = ?",
        (group,),
    ).fetchall()
    return sum(_lives(host, pid, seen, timeout, now) for host, pid, seen, timeout in rows)


def set_offsets(db: sqlite3.Connection, group: str, offsets: Mapping[TopicPartition, Committed], now: float) -> None:
    """Commit offsets for a group without live members; those that are silent are out of it from now.

    Raises:
        CommitRefused: it has live members.
        StreamNotFound: a partition does not exist.
    """
    if members := live_members(db, group, now):
        raise CommitRefused(f"{group} has {members} live member{'s' * (members != 1)}")
    db.execute("INSERT OR IGNORE INTO groups (name) VALUES (?)", (group,))
    group_id = _group_id(db, group)
    # A new generation too: one that was only silent would still commit in the old one.
    db.execute("DELETE FROM members WHERE group_id = ?", (group_id,))
    db.execute("UPDATE groups SET generation = generation + 1, deadline = NULL WHERE id = ?", (group_id,))
    logs = log.extents(db, offsets)
    db.executemany(
        "INSERT OR REPLACE INTO offsets (group_id, log_id, offset, metadata) VALUES (?, ?, ?, ?)",
        [(group_id, logs[partition].log_id, *committed) for partition, committed in offsets.items()],
    )


def _group_id(db: sqlite3.Connection, group: str) -> int:
    found: int = db.execute("SELECT id FROM groups WHERE name = ?", (group,)).fetchone()[0]
    return found


def _is_member(db: sqlite3.Connection, member_id: int) -> bool:
    return db.execute("SELECT 1 FROM members WHERE id = ?", (member_id,)).fetchone() is not None


def _is_preparing(db: sqlite3.Connection, group_id: int) -> bool:
    return db.execute("SELECT deadline FROM groups WHERE id = ?", (group_id,)).fetchone()[0] is not None


def _prepare(db: sqlite3.Connection, group_id: int, deadline: float) -> None:
    if not _is_preparing(db, group_id):
        db.execute("UPDATE groups SET deadline = ? WHERE id = ?", (deadline, group_id))
        catalog.announce(db)


def _layout(db: sqlite3.Connection, group_id: int) -> list[list[int]]:
    """The (stream id, partitions) of all that the members consume."""
    wanted: set[int] = set()
    for (streams,) in db.execute("SELECT streams FROM members WHERE group_id = ?", (group_id,)).fetchall():
        wanted.update(json.loads(streams).values())
    rows = [
        db.execute("SELECT id, partitions FROM streams WHERE id = ?", (stream_id,)).fetchone()
        for stream_id in sorted(wanted)
    ]
    return [list(row) for row in rows if row is not None]


def _assign_when_ready(db: sqlite3.Connection, group_id: int, layout: list[list[int]]) -> None:
    """Deal the partitions out in turn, each to one of the members that consume its stream."""
    if not _is_preparing(db, group_id):
        return
    members = db.execute(
        "SELECT id, streams, ready FROM members WHERE group_id = ? ORDER BY id", (group_id,)
    ).fetchall()
    if not all(ready for _, _, ready in members):
        return
    subscribed = {member_id: set(json.loads(streams).values()) for member_id, streams, _ in members}
    assignment: dict[int, list[int]] = {member_id: [] for member_id in subscribed}
    turn = list(subscribed)
    for stream_id, _ in layout:
        for (log_id,) in db.execute(
            "SELECT id FROM logs WHERE stream_id = ? ORDER BY partition", (stream_id,)
        ).fetchall():
            member_id = next((member for member in turn if stream_id in subscribed[member]), None)
            if member_id is not None:
                assignment[member_id].append(log_id)
                turn.remove(member_id)
                turn.append(member_id)
    for member_id, log_ids in assignment.items():
        db.execute("UPDATE members SET ready = 0, assignment = ? WHERE id = ?", (json.dumps(log_ids), member_id))
    db.execute(
        "UPDATE groups SET generation = generation + 1, deadline = NULL, layout = ? WHERE id = ?",
        (json.dumps(layout), group_id),
    )
    catalog.announce(db)


def _view(db: sqlite3.Connection, group_id: int, member_id: int) -> View:
    generation, deadline = db.execute("SELECT generation, deadline FROM groups WHERE id = ?", (group_id,)).fetchone()
    streams, assignment = db.execute("SELECT streams, assignment FROM members WHERE id = ?", (member_id,)).fetchone()
    missing = None
    for name, stream_id in json.loads(streams).items():
        if db.execute("SELECT 1 FROM streams WHERE id = ?", (stream_id,)).fetchone() is None:
            missing = name
    assigned: list[Held] = []
    if deadline is None:
        for log_id in json.loads(assignment):
            row = db.execute(
                "SELECT s.name, l.partition, coalesce(o.offset, l.start_offset) FROM logs l "
                "JOIN streams s ON s.id = l.stream_id "
                "LEFT JOIN offsets o ON o.group_id = ? AND o.log_id = l.id WHERE l.id = ?",
                (group_id, log_id),
            ).fetchone()
            if row is not None:
                assigned.append(Held(TopicPartition(row[0], row[1]), log_id, row[2]))
    return View(
        member=True,
        preparing=deadline is not None,
        generation=generation,
        assigned=tuple(assigned),
        missing=missing,
    )


@functools.cache
def _host() -> str:
    """The space in which this process's id means something: the machine and, on Linux, the process namespace."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{platform.node()}/{namespace}"


def _lives(host: str, pid: int, seen_at: float, session_timeout: float, now: float) -> bool:
    return now - session_timeout <= seen_at <= now + 1 and not _has_died(host, pid)


def _has_died(host: str, pid: int) -> bool:
    if os.name != "posix" or host != _host():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
