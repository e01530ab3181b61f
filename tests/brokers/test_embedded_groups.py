"""The group protocol of the embedded log: its rules, one by one and under random events, with a clock of our own."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import catalog, groups
from dispatcher.brokers.embedded.schema import connect, prepare_file
from dispatcher.core.record import Committed
from dispatcher.errors import CommitRefused

SESSION = 10.0
REBALANCE = 60.0


class Client:
    """A member as the consumer plays it, one step at a time."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self.db = db
        self.join(now)
        self.generation = 0
        self.logs: set[int] = set()

    def join(self, now: float) -> None:
        self.id = groups.new_member_id()
        groups.join(self.db, "g", self.id, ["s"], SESSION, REBALANCE, now)

    def tick(self, now: float) -> groups.View:
        return groups.tick(self.db, "g", self.id, ready=not self.logs, rebalance_timeout=REBALANCE, now=now)

    def step(self, now: float) -> None:
        """Look at the group and obey, with a listener that takes no time."""
        view = self.tick(now)
        if not view.member:
            self.logs = set()
            self.join(now)
        elif view.preparing:
            self.logs = set()
        elif view.generation != self.generation:
            self.generation = view.generation
            self.logs = {held.log_id for held in view.assigned}

    def commit(self, offset: int) -> None:
        groups.commit(self.db, "g", self.id, self.generation, dict.fromkeys(self.logs, Committed(offset, "")))

    def leave(self, now: float) -> None:
        groups.leave(self.db, "g", self.id, REBALANCE, now)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A file with one stream of four partitions."""
    prepare_file(tmp_path / "log.db", 1.0)
    connection = connect(tmp_path / "log.db", 1.0)
    catalog.create(connection, StreamInfo(name="s", partitions=4))
    yield connection
    connection.close()


def test_a_lone_member_has_everything_at_its_first_look(db: sqlite3.Connection) -> None:
    """With nobody to wait for, joining and one look are enough: a start costs two transactions."""
    client = Client(db, 0.0)
    client.step(0.0)
    assert len(client.logs) == 4


def test_more_members_than_partitions_leaves_some_without(db: sqlite3.Connection) -> None:
    """Six members of four partitions: four have one each, two have none, and none is shared."""
    clients = [Client(db, 0.0) for _ in range(6)]
    for _ in range(3):
        for client in clients:
            client.step(0.0)
    assert sorted(len(client.logs) for client in clients) == [0, 0, 1, 1, 1, 1]
    assert len(set().union(*(client.logs for client in clients))) == 4


def test_partitions_go_to_members_that_consume_their_stream(db: sqlite3.Connection) -> None:
    """Members of one group may consume different streams, and get partitions of their own alone."""
    catalog.create(db, StreamInfo(name="t", partitions=2))
    both, one = 1, 2
    groups.join(db, "g", both, ["s", "t"], SESSION, REBALANCE, 0.0)
    groups.join(db, "g", one, ["t"], SESSION, REBALANCE, 0.0)
    seen = {
        member: groups.tick(db, "g", member, ready=True, rebalance_timeout=REBALANCE, now=0.0) for member in (both, one)
    }
    assert {held.partition.topic for held in seen[one].assigned} == {"t"}
    assert len(seen[one].assigned) + len(seen[both].assigned) == 6


def test_a_silent_member_is_put_out_after_its_session_timeout(db: sqlite3.Connection) -> None:
    """Just before the timeout the others wait for it; just after, its partitions are theirs and its commit is refused."""
    silent, alive = Client(db, 0.0), Client(db, 0.0)
    for client in (silent, alive):
        client.step(0.0)
    alive.step(SESSION - 0.1)
    assert len(alive.logs) == 2
    alive.step(SESSION + 0.1)
    alive.step(SESSION + 0.1)
    assert len(alive.logs) == 4
    with pytest.raises(CommitRefused):
        silent.commit(1)


def test_a_member_that_does_not_give_up_is_put_out_at_the_deadline(db: sqlite3.Connection) -> None:
    """A member that still drains at the rebalance timeout, heartbeats and all, no longer holds the others up."""
    slow = Client(db, 0.0)
    slow.step(0.0)
    waiting = Client(db, 1.0)
    for now in range(1, 61):
        groups.heartbeat(db, slow.id, now)
        waiting.step(now)
        assert not waiting.logs
    slow.commit(7)
    groups.heartbeat(db, slow.id, REBALANCE + 1)
    waiting.step(REBALANCE + 1)
    assert len(waiting.logs) == 4
    with pytest.raises(CommitRefused):
        slow.commit(8)


def test_a_commit_signed_with_an_old_generation_is_refused(db: sqlite3.Connection) -> None:
    """Being a member is not enough: after a new assignment a commit made for the old one is refused."""
    first = Client(db, 0.0)
    first.step(0.0)
    old, log = first.generation, min(first.logs)
    second = Client(db, 0.0)
    first.step(0.0)
    first.step(0.0)
    second.step(0.0)
    assert first.generation == second.generation == old + 1
    with pytest.raises(CommitRefused, match="generation"):
        groups.commit(db, "g", first.id, old, {log: Committed(1, "")})


def test_members_from_before_a_reboot_are_dead(db: sqlite3.Connection) -> None:
    """The clock begins anew with the machine: a heartbeat that lies in the future is a dead member's."""
    before = Client(db, 1_000_000.0)
    before.step(1_000_000.0)
    after = Client(db, 5.0)
    after.step(5.0)
    assert len(after.logs) == 4


class GroupMachine(RuleBasedStateMachine):
    """Members join, look, commit, leave, crash, stall and wake at any moment; the clock goes on between.

    The model is ownership itself: what each living client believes it holds, and who committed last with success.
    """

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "log.db"
        prepare_file(path, 1.0)
        self.db = connect(path, 1.0)
        self.db.execute("PRAGMA synchronous=OFF")
        self.partitions = 3
        catalog.create(self.db, StreamInfo(name="s", partitions=3))
        self.now = 0.0
        self.offset = 0
        self.living: list[Client] = []
        self.last: dict[int, int] = {}

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    @initialize(target=clients)
    def first(self) -> Client:
        return self.join()

    @rule(target=clients)
    def join(self) -> Client:
        client = Client(self.db, self.now)
        self.living.append(client)
        return client

    @rule(client=clients)
    def look(self, client: Client) -> None:
        client.step(self.now)

    @rule(client=clients)
    def commit(self, client: Client) -> None:
        self.offset += 1
        try:
            client.commit(self.offset)
        except CommitRefused:
            return
        for log in client.logs:
            self.last[log] = self.offset
        for other in self.living:
            if other is not client and other.generation >= client.generation:
                assert not other.logs & client.logs

    @rule(client=consumes(clients))
    def leave(self, client: Client) -> None:
        client.leave(self.now)
        self.living.remove(client)

    @rule(client=consumes(clients))
    def crash(self, client: Client) -> None:
        self.living.remove(client)

    @rule(seconds=st.sampled_from([0.1, 3.0, 11.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def gain_partitions(self) -> None:
        if self.partitions < 6:
            self.partitions += 1
            catalog.add_partitions(self.db, "s", self.partitions)

    @rule()
    def settle(self) -> None:
        """Once everybody alive looks often enough, all partitions are held, each by one member."""
        if not self.living:
            return
        for _ in range(60):
            self.now += 2.0
            for client in self.living:
                client.step(self.now)
        held = [log for client in self.living for log in client.logs]
        assert len(held) == len(set(held)) == self.partitions

    @invariant()
    def no_partition_has_two_owners_in_a_generation(self) -> None:
        rows: list[Any] = self.db.execute("SELECT assignment FROM members WHERE ready = 0").fetchall()
        dealt = [log for (assignment,) in rows for log in json.loads(assignment)]
        assert len(dealt) == len(set(dealt))

    @invariant()
    def the_last_accepted_commit_stands(self) -> None:
        assert dict(self.db.execute("SELECT log_id, offset FROM offsets").fetchall()) == self.last


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGroups = GroupMachine.TestCase
TestGroups.__doc__ = "Whatever happens in whatever order, a partition has one owner and no old owner's commit is taken."
