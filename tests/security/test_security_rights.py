"""Who may do what is Kafka's to say: its ACLs, of a real cluster, hold for every command and for the dead letters."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from kafka_acls import DESCRIBE, GROUP, READ, TOPIC, WRITE, allow, forbid
from kafka_server import WORKER, KafkaCluster

from bindings import bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.worker import Worker
from tests.worker.bench import until

pytestmark = pytest.mark.kafka

USER, PASSWORD = WORKER
APP = """
from bindings import Retry, on_stream

@on_stream("{stream}", retry=Retry(max_attempts=1))
def mine(event: dict) -> None:
    raise ValueError

@on_stream("{stream}", retry=Retry(max_attempts=1))
def theirs(event: dict) -> None:
    raise ValueError
"""


class Shop:
    """Two functions of one app, each with a dead letter, and a user who may do everything with one of them."""

    def __init__(self, dispatch: Any, cluster: KafkaCluster) -> None:
        self.dispatch, self.cluster = dispatch, cluster
        self.app = f"shop-{uuid.uuid4().hex[:10]}"
        self.stream = f"orders-{self.app}"

    async def open(self) -> None:
        """Have both functions fail over two events, as the owner; then give the user its rights."""
        self.dispatch.write("app.py", APP.format(stream=self.stream))
        owner = {"DISPATCH_BROKER": f"kafka://{self.cluster.bootstrap()}", "DISPATCH_APP": self.app}
        self.dispatch("streams", "create", self.stream, "--partitions", "1", **owner)
        self.dispatch("send", self.stream, "-", stdin="{}\n{}\n", **owner)
        run = await asyncio.to_thread(self.dispatch, "run", "app.py", "--until-caught-up", **owner)
        assert run.code == 1, run.stderr
        async with KafkaBroker(self.cluster.bootstrap()) as broker:
            for function in ("mine", "theirs"):
                await broker.create_stream(StreamInfo(name=f"{self.stream}.{function}.retry", partitions=1))
        # Every right on every topic: what is left is the group's.
        for topic in self.topics():
            for operation in (READ, WRITE):
                await allow(self.cluster.bootstrap(), USER, topic, operation)
        await allow(self.cluster.bootstrap(), USER, f"{self.app}.mine", READ, kind=GROUP)

    def topics(self) -> list[str]:
        """The stream, and what both functions write to."""
        ends = [f".{function}.{what}" for function in ("mine", "theirs") for what in ("dead", "retry")]
        return [self.stream, *(self.stream + end for end in ends)]

    def __call__(self, *words: str) -> Any:
        """A command of the user's."""
        return self.dispatch(
            *words,
            DISPATCH_BROKER=f"kafka://{self.cluster.bootstrap('sasl')}",
            DISPATCH_APP=self.app,
            DISPATCH_KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
            DISPATCH_KAFKA__USERNAME=USER,
            DISPATCH_KAFKA__PASSWORD=PASSWORD,
        )

    async def state(self) -> dict[str, object]:
        """What the commands could change: the functions' commits, and what stands in the topics."""
        async with KafkaBroker(self.cluster.bootstrap()) as broker:
            ends = await broker.end_offsets([TopicPartition(topic, 0) for topic in self.topics()])
            found: dict[str, object] = {id_.topic: end for id_, end in ends.items()}
            for function in ("mine", "theirs"):
                for group, topic in (
                    (function, self.stream),
                    (f"{function}.redrive", f"{self.stream}.{function}.dead"),
                ):
                    id_ = TopicPartition(topic, 0)
                    found[group] = (await broker.committed(f"{self.app}.{group}", [id_]))[id_]
        return found


@pytest.fixture
async def shop(dispatch: Any, kafka_cluster: KafkaCluster) -> Shop:
    """A shop that is open."""
    made = Shop(dispatch, kafka_cluster)
    await made.open()
    return made


COMMANDS = [
    ("dlq", "redrive", "FN", "app.py", "--yes"),
    ("dlq", "drop", "FN", "app.py", "--yes"),
    ("groups", "reset", "FN", "--to", "earliest", "--yes"),
    ("replay", "FN", "app.py", "--from", "earliest", "--yes"),
    ("run", "app.py", "--only", "FN", "--until-caught-up"),
]


#: The others join the group as well: 3 s each.
CONTROLS = [words for words in COMMANDS if words[1] in {"redrive", "reset"}]


@pytest.mark.timeout(300)
async def test_what_changes_a_function_needs_the_rights_on_its_group(shop: Shop) -> None:
    """Redrive, drop, reset, replay and run of a function whose group is another's: refused, with the group and the right
    that is missing, and nothing has moved. With the rights, on the user's own function, they do their work: the control."""
    before = await shop.state()
    for words in COMMANDS:
        done = await asyncio.to_thread(shop, *(word.replace("FN", "theirs") for word in words))
        assert done.code == 1, (words, done)
        assert f"READ on the group {shop.app}.theirs" in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
    assert await shop.state() == before

    for words in CONTROLS:
        previous = await shop.state()
        done = await asyncio.to_thread(shop, *(word.replace("FN", "mine") for word in words))
        assert done.code == 0, (words, done)
        assert await shop.state() != previous, (words, done)
    assert {name: at for name, at in (await shop.state()).items() if "theirs" in name} == {
        name: at for name, at in before.items() if "theirs" in name
    }


async def test_dead_letters_that_may_be_seen_and_not_written(
    kafka_cluster: KafkaCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """DESCRIBE without WRITE on the dead-letter topic: the log names the right and the topic, the event's offset is not
    committed, others go on; with the right the letter is written. Taken away again, it is the same, with the same producer."""
    mark = uuid.uuid4().hex[:10]
    source, dead, app = f"source-{mark}", f"dead-{mark}", f"app-{mark}"
    admin = kafka_cluster.bootstrap()
    seen = []

    @on_stream(source, dead_letter=dead)
    async def handle(value: dict) -> None:
        seen.append(value)

    async with KafkaBroker(admin) as owner:
        for name in (source, dead):
            await owner.create_stream(StreamInfo(name=name, partitions=1))
        for operation, name, kind in ((READ, source, TOPIC), (DESCRIBE, dead, TOPIC), (READ, f"{app}.", GROUP)):
            await allow(admin, USER, name, operation, kind=kind)
        producer = await owner.producer()
        id_, letters = TopicPartition(source, 0), TopicPartition(dead, 0)

        async def committed() -> int:
            found = (await owner.committed(f"{app}.handle", [id_]))[id_]
            return found.offset if found else 0

        settings = KafkaSettings.parse(
            servers=kafka_cluster.bootstrap("sasl"),
            security_protocol="SASL_PLAINTEXT",
            username=USER,
            password=PASSWORD,
        )
        async with KafkaBroker(settings) as broker:
            [binding] = bindings_of(handle)
            worker = Worker(binding, broker, app=app, settings=Settings(commit_interval=0.05, drain=1.0))
            task = asyncio.create_task(worker.run())
            try:
                for turn in (1, 2):
                    caplog.clear()
                    for value in (b"[", b'{"turn": 1}'):
                        await producer.send(Outgoing(topic=source, value=value))
                    await until(lambda: len(seen) == turn, "the good event", patience=40)  # noqa: B023 - awaited here
                    await until(lambda: f"needs WRITE on the topic {dead}" in caplog.text, "the complaint", patience=40)
                    assert "nothing is lost" in caplog.text
                    assert await committed() == 2 * (turn - 1)
                    assert (await owner.end_offsets([letters]))[letters] == turn - 1
                    await allow(admin, USER, dead, WRITE)
                    await until(lambda: worker.statistics().dead_lettered == turn, "the letter", patience=40)  # noqa: B023
                    assert (await owner.end_offsets([letters]))[letters] == turn
                    async with asyncio.timeout(20):
                        while await committed() != 2 * turn:
                            await asyncio.sleep(0.05)
                    await forbid(admin, USER, dead, WRITE)
            finally:
                worker.stop()
                await task
        await producer.close()
