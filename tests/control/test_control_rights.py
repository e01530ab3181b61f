"""What a user may not do on the control stream is said once, and stops nothing else. Real ACLs, a real cluster."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from kafka_acls import DESCRIBE, GROUP, READ, TOPIC, WRITE, allow
from kafka_server import WORKER, KafkaCluster

from bindings import Retry, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.config import Settings
from dispatcher.control import Control, ControlLog, Entry, control_topic, following
from dispatcher.core.record import Outgoing
from dispatcher.worker import Worker
from tests.worker.bench import binding_of, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

USER, PASSWORD = WORKER


class Place:
    """A stream with a function, of an app whose owner may do everything and whose worker may not."""

    def __init__(self, cluster: KafkaCluster, owner: KafkaBroker) -> None:
        self.admin, self.owner = cluster.bootstrap(), owner
        self.app = f"app-{uuid.uuid4().hex[:10]}"
        self.stream = f"orders-{self.app}"
        self.log = ControlLog(owner, self.app)
        self.seen: list[bytes] = []
        self.heals = False
        self._settings = KafkaSettings.parse(
            servers=cluster.bootstrap("sasl"), security_protocol="SASL_PLAINTEXT", username=USER, password=PASSWORD
        )

        @on_stream(self.stream, retry=Retry(max_attempts=2, initial=0.01, then="pause"))
        async def handle(value: bytes) -> None:
            self.seen.append(value)
            if value == b"bad" and not self.heals:
                raise ValueError("no")

        self.function = handle

    async def open(self) -> None:
        """Give the worker the rights that it has without control."""
        dead = f"{self.stream}.handle.dead"
        for topic in (self.stream, dead):
            await self.owner.create_stream(StreamInfo(name=topic, partitions=1))
        for operation, name, kind in (
            (READ, self.stream, TOPIC),
            (DESCRIBE, dead, TOPIC),
            (READ, f"{self.app}.", GROUP),
        ):
            await allow(self.admin, USER, name, operation, kind=kind)

    async def send(self, *values: bytes) -> None:
        producer = await self.owner.producer()
        for value in values:
            await producer.send(Outgoing(topic=self.stream, value=value))
        await producer.close()

    async def say(self, action: str) -> None:
        """As the owner's command does."""
        await self.log.write(Entry(function="handle", action=action, by="owner", at=1))  # type: ignore[arg-type]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """The function at work, as the user without rights."""
        async with KafkaBroker(self._settings) as broker:
            control = Control(broker, self.app)
            worker = Worker(
                binding_of(self.function),
                broker,
                app=self.app,
                settings=Settings(commit_interval=0.05, drain=1.0),
                on_pause=partial(control.paused_itself, "handle"),
            )
            async with control.following([worker]):
                task = asyncio.create_task(worker.run())
                try:
                    yield worker
                finally:
                    worker.stop()
                    await task


@pytest.fixture
async def place(kafka_cluster: KafkaCluster) -> AsyncIterator[Place]:
    """The place, with what its worker needs beside control."""
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        made = Place(kafka_cluster, owner)
        await made.open()
        yield made


async def test_without_the_right_to_read_it_works_without_remote_control(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may not read the control stream is warned once, with the stream and the setting that leaves it out; events are
    delivered. Once somebody grants READ, commands are heard with no restart."""
    monkeypatch.setattr(following, "_REFUSED_INTERVAL", 0.2)
    caplog.set_level(logging.INFO, "dispatcher.control")
    await place.say("resume")
    topic = control_topic(place.app)
    async with place.working() as worker:
        await place.send(b"1")
        await until(lambda: place.seen == [b"1"], "the event", patience=40)
        said = [record.getMessage() for record in caplog.records if "no remote control" in record.getMessage()]
        await asyncio.sleep(1.0)  # five more looks: none of them is told
        assert (
            len([record for record in caplog.records if "no remote control" in record.getMessage()]) == len(said) == 1
        )
        assert f"on the topic {topic}" in said[0]
        assert 'control = "off"' in said[0]
        await place.say("pause")
        await allow(place.admin, USER, topic, READ)
        await until(lambda: worker.statistics().state == "paused", "the pause", patience=40)
        await place.say("resume")
        await until(lambda: worker.statistics().state == "running", "the resume", patience=40)
    assert "remote control works now" in caplog.text


async def test_without_the_right_to_write_its_own_pause_stays_its_own(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """READ without WRITE: a function that pauses itself is paused in its process, which says that nobody else knows; pause and
    resume by command let it go on, with all attempts again. With WRITE the next pause is in the stream."""
    topic = control_topic(place.app)
    await place.say("resume")
    await allow(place.admin, USER, topic, READ)
    async with place.working() as worker:
        await place.send(b"bad", b"good")
        await until(lambda: "in this process alone" in caplog.text, "the complaint", patience=40)
        assert f"{topic} can't be written" in caplog.text
        assert "needs WRITE" in caplog.text
        assert worker.statistics().state == "paused"
        await place.log.look()
        assert place.log.trail.paused("handle") is None
        # A look or two later it is still paused: the last word in the stream is older than its own.
        await asyncio.sleep(2.5)
        assert worker.statistics().state == "paused"
        assert place.seen.count(b"bad") == 2

        await allow(place.admin, USER, topic, WRITE)
        await place.say("pause")
        await place.say("resume")
        await until(lambda: place.seen.count(b"bad") == 4, "its attempts", patience=40)
        async with asyncio.timeout(40):
            while place.log.trail.paused("handle") is None:
                await place.log.look()
                await asyncio.sleep(0.1)
        entry = place.log.trail.paused("handle")
        assert entry is not None
        assert entry.event is not None
        assert (entry.event.stream, entry.event.offset, entry.event.attempts) == (place.stream, 0, 2)
        place.heals = True
        await place.say("resume")
        await until(lambda: worker.statistics().done == 2, "both", patience=40)
