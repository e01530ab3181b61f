"""The broker contract: a control stream, which processes read whole and follow with no group."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from dispatcher.brokers.base import Broker
from dispatcher.control import ControlLog, Entry, control_topic
from dispatcher.control.entry import encode
from dispatcher.control.trail import KEPT
from dispatcher.core.record import Outgoing
from dispatcher.core.retries import PauseCause, Reason
from dispatcher.errors import BrokerError

CAUSE = PauseCause(
    stream="orders",
    partition=3,
    offset=17,
    reason=Reason.ATTEMPTS,
    attempts=5,
    error_type="ValueError",
    message="\N{PILE OF POO}" * 1_000,
)


def entry(function: str = "f", action: str = "pause", **more: object) -> Entry:
    """An entry of somebody's."""
    return Entry(function=function, action=action, by="anna@host", at=1_700_000_000_000, **more)  # type: ignore[arg-type]


async def test_entries_are_followed_from_the_begin_by_everybody(make_broker: Callable[[], Broker]) -> None:
    """A stream that does not exist says nothing; what one connection writes every other reads, whole and in order, those
    that followed and those that come later; the last entry of a function is its state."""
    app = f"app-{uuid.uuid4().hex[:10]}"
    async with make_broker() as broker, make_broker() as elsewhere:
        one, two = ControlLog(broker, app), ControlLog(elsewhere, app)
        await two.look()
        assert two.trail.functions() == []
        first, second = entry(reason="because"), entry("g", event=CAUSE)
        for each in (first, second):
            await one.write(each)
        await two.look()
        assert two.trail.paused("f") == first
        found = two.trail.paused("g")
        assert found is not None
        assert found.event is not None
        assert (found.event.offset, found.event.message) == (17, CAUSE.message[:500])
        offset = await two.write(entry(action="resume"))
        await one.look()
        assert one.position > offset
        assert (one.trail.paused("f"), one.trail.paused("g")) == (None, found)
        late = ControlLog(broker, app)
        await late.look()
        assert [each.action for each in late.trail.history("f")] == ["pause", "resume"]
        assert late.trail.functions() == ["f", "g"]
        info = await broker.describe(control_topic(app))
        assert info is not None
        assert (info.partitions, info.config["cleanup.policy"]) == (1, "compact")


async def test_what_others_write_there_is_left_out(make_broker: Callable[[], Broker]) -> None:
    """Whoever may write to the topic may write anything: what is no entry is passed over, and what it names stays as it is."""
    app = f"app-{uuid.uuid4().hex[:10]}"
    async with make_broker() as broker:
        log = ControlLog(broker, app)
        good = entry()
        await log.write(good)
        value = b'{"version": 1, "function": "f", "action": "resume", "by": "eve", "at": 1}'
        producer = await broker.producer()
        for key, bad in (
            (b"f:1", b"{"),
            (b"f:2", b"[]"),
            (b"g:3", value),
            (None, value),
            (b"f:4", value.replace(b'"resume"', b'"delete"')),
            (b"f:5", value.replace(b'"eve"', b"7")),
            (b"f:6", b"[" * 100_000),
            (b"\xff:7", None),
            (b"f:8", b"\xff"),
            (b"f:9", value.replace(b"1}", b'1, "event": {"stream": "x"}}')),
        ):
            try:
                await producer.send(Outgoing(topic=log.topic, partition=0, key=key, value=bad))
            except BrokerError:
                assert key is None  # Kafka itself takes nothing without a key into a compacted topic
        await producer.close()
        await log.look()
        assert log.trail.paused("f") == good
        assert log.trail.functions() == ["f"]


async def test_the_trail_is_bounded_and_deleted_by_tombstones(make_broker: Callable[[], Broker]) -> None:
    """Of more than 200 entries of a function the oldest go: the keys of their records have tombstones for the compaction, and
    whoever reads the stream, compacted or not, has the last ones alone. Another function's are not touched."""
    app = f"app-{uuid.uuid4().hex[:10]}"
    async with make_broker() as broker:
        log = ControlLog(broker, app)
        await log.write(entry("g"))
        producer = await broker.producer()
        every = [entry(reason=str(number)) for number in range(KEPT + 20)]
        await producer.send_all(
            [Outgoing(topic=log.topic, partition=0, key=each.key, value=encode(each)) for each in every]
        )
        await producer.close()
        await log.look()
        assert len(log.trail.history("f")) == KEPT + 20
        last = entry(action="resume")
        await log.write(last)
        late = ControlLog(broker, app)
        await late.look()
        assert [each.reason for each in late.trail.history("f")] == [*map(str, range(20, KEPT + 20)), ""]
        assert late.trail.last("f") == last
        assert late.trail.paused("g") is not None
