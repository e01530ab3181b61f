"""The processes under test, and the streams that they consume."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from ledger import FOLDER, INSTANCE, Ledger, value_of

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.core.record import Committed, Outgoing, Record

__all__ = ["Fleet", "Member", "until", "waited"]

_HERE = Path(__file__).parent
_T = TypeVar("_T")


def until(condition: Callable[[], object], what: str, *, patience: float = 60.0, every: float = 0.05) -> None:
    """Poll until the condition holds; fail with what was waited for when it never does."""
    give_up = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < give_up, f"waited {patience:g} s in vain for {what}"
        time.sleep(every)


def waited(condition: Callable[[], object], patience: float, *, every: float = 0.1) -> bool:
    """Poll until the condition holds, ``patience`` seconds at most; whether it did. For what a control arm never does."""
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(every)
    return True


class Member:
    """One dispatcher process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def rss(self) -> int:
        """Bytes of memory that it holds now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM: asked to drain, commit and leave. :meth:`wait` for it."""
        self.process.terminate()

    def wait(self, patience: float = 60.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(patience)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


class Fleet:
    """The members of one app and what they have in common. A context manager: at its end none runs.

    Args:
        folder: for the ledger and the logs; empty.
        bootstrap: the Kafka's addresses.
        app: a file of ``apps/``, without its ending. Its function reads the stream that ``FAULTS_STREAM`` names.
        mutant: a module of ``mutants/``.
        environ: more of the environment: ``DISPATCH_*`` settings, and what the app reads.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        app: str,
        *,
        mutant: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.app = app
        self.name = f"faults-{uuid.uuid4().hex[:10]}"
        self.stream = f"{self.name}.events"
        self.members: list[Member] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DISPATCH_", "FAULTS_"))},
            "PYTHONPATH": os.pathsep.join([str(_HERE), str(_HERE.parents[1])]),
            "FAULTS_STREAM": self.stream,
            FOLDER: str(folder),
            **({"FAULTS_MUTANT": mutant} if mutant else {}),
            **(environ or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for member in self.members:
            if member.is_alive:
                member.thaw()
                member.kill()

    # -- members

    def start(self, *options: str, bootstrap: str | None = None, **environ: str) -> Member:
        """Start one more process of the app. ``environ`` is set for it alone, and ``bootstrap`` too."""
        return self.command("run", str(self.source), *options, bootstrap=bootstrap, **environ)

    def command(self, *words: str, bootstrap: str | None = None, **environ: str) -> Member:
        """Start any other command of ``dispatch`` for the app and its Kafka: a redrive, a replay."""
        name = f"m{len(self.members) + 1}"
        log = self.folder / f"{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [
                    *(sys.executable, str(_HERE / "member.py"), *words),
                    *("--broker", f"kafka://{bootstrap or self.bootstrap}", "--app", self.name),
                ],
                cwd=self.folder,
                env={**self.environ, INSTANCE: name, **environ},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        member = Member(name, process, log)
        self.members.append(member)
        return member

    @property
    def source(self) -> Path:
        """The app's file."""
        return _HERE / "apps" / f"{self.app}.py"

    @property
    def alive(self) -> list[Member]:
        """Those that run, oldest first."""
        return [member for member in self.members if member.is_alive]

    def stop_all(self, patience: float = 60.0) -> None:
        """SIGTERM to all; returns when they have ended."""
        for member in self.alive:
            member.terminate()
        for member in self.members:
            member.wait(patience)

    def ledger(self) -> Ledger:
        """What the handlers have written so far."""
        return Ledger.read(self.folder)

    def said(self) -> str:
        """What all members have logged."""
        return "".join(member.said() for member in self.members)

    # -- the broker, seen from outside

    def create(self, partitions: int = 1, *, stream: str | None = None, **config: str) -> None:
        """Create the stream; ``config`` has underscores for the topic settings' dots."""
        settings = {name.replace("_", "."): value for name, value in config.items()}
        self.ask(
            lambda broker: broker.create_stream(
                StreamInfo(name=stream or self.stream, partitions=partitions, config=settings)
            )
        )

    def feed(
        self,
        count: int,
        *,
        keys: int = 0,
        size: int = 0,
        begin: int = 0,
        partition: int | None = None,
        stream: str | None = None,
    ) -> range:
        """Send ``count`` records and return their ids, from ``begin`` on.

        Args:
            count: how many records.
            keys: how many keys they have, in turn; 0 for none.
            size: bytes of each value, at least.
            begin: the first id. Sequences in a key follow from ids, so that two feeds go on where the first ended.
            partition: where all of them go; the partitioner's choice when left out.
            stream: another one than the fleet's own.
        """
        ids = range(begin, begin + count)
        self.ask(lambda broker: _feed(broker, stream or self.stream, ids, keys, size, partition))
        return ids

    def commits(self, function: str = "handle", stream: str | None = None) -> dict[int, Committed]:
        """What the function's group has committed, by partition; none where there is no commit."""
        stream = stream or self.stream

        async def read(broker: KafkaBroker) -> dict[int, Committed]:
            info = await broker.describe(stream)
            assert info is not None
            every = info.ids
            found = await broker.committed(f"{self.name}.{function}", every)
            return {id_.partition: commit for id_, commit in found.items() if commit is not None}

        return self.ask(read)

    def lag(self, function: str = "handle", stream: str | None = None) -> int:
        """Events that the group's commits have not passed."""
        stream = stream or self.stream

        async def read(broker: KafkaBroker) -> int:
            info = await broker.describe(stream)
            assert info is not None
            every = info.ids
            found = await broker.committed(f"{self.name}.{function}", every)
            first, end = await broker.beginning_offsets(every), await broker.end_offsets(every)
            return sum(
                end[id_] - (commit.offset if (commit := found[id_]) is not None else first[id_]) for id_ in every
            )

        return self.ask(read)

    def group_size(self, function: str = "handle") -> int:
        """How many members the function's group has; one that waits to be let in is counted."""
        return self.ask(lambda broker: broker.group_members(f"{self.name}.{function}"))

    def length(self, stream: str) -> int:
        """Offsets that a stream holds; 0 when there is none."""

        async def read(broker: KafkaBroker) -> int:
            if (info := await broker.describe(stream)) is None:
                return 0
            every = info.ids
            first, end = await broker.beginning_offsets(every), await broker.end_offsets(every)
            return sum(end[id_] - first[id_] for id_ in every)

        return self.ask(read)

    def records(self, stream: str) -> list[Record]:
        """All records of a stream, as another program would read them; none when there is no such stream."""
        return self.ask(lambda broker: _read_all(broker, self.bootstrap, stream))

    def ask(self, question: Callable[[KafkaBroker], Coroutine[Any, Any, _T]]) -> _T:
        """Ask the broker through a connection of its own."""

        async def ask() -> _T:
            async with KafkaBroker(self.bootstrap) as broker:
                return await question(broker)

        return asyncio.run(ask())


async def _feed(
    broker: KafkaBroker, stream: str, ids: Iterable[int], keys: int, size: int, partition: int | None
) -> None:
    producer = await broker.producer()
    try:
        waiting: list[Coroutine[Any, Any, Any]] = []
        for id_ in ids:
            key = b"k%d" % (id_ % keys) if keys else None
            sequence = id_ // keys if keys else id_
            waiting.append(
                producer.send(Outgoing(topic=stream, key=key, value=value_of(id_, sequence, size), partition=partition))
            )
            if len(waiting) >= 2_000:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)
    finally:
        await producer.close()


async def _read_all(broker: KafkaBroker, bootstrap: str, stream: str) -> list[Record]:
    from aiokafka import AIOKafkaConsumer
    from aiokafka import TopicPartition as Assigned

    if (info := await broker.describe(stream)) is None:
        return []
    every = info.ids
    ends = await broker.end_offsets(every)
    left = {id_ for id_, first in (await broker.beginning_offsets(every)).items() if first < ends[id_]}
    found: list[Record] = []
    if not left:
        return found
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=8_000_000,
    )
    await consumer.start()
    try:
        consumer.assign([Assigned(*id_) for id_ in every])
        async with asyncio.timeout(60):
            while left:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
                left = {id_ for id_ in left if await consumer.position(Assigned(*id_)) < ends[id_]}
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))
