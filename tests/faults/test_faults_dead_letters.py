"""The dead-letter topic says no: nothing passes an event that has no dead letter, and when it takes it, it is whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fleet import Fleet, until, waited
from kafka_acls import GROUP, READ, WRITE, allow, forbid
from kafka_server import WORKER, KafkaCluster
from ledger import value_of
from letters import letters, lost_or_changed, passed, poison, send
from sizes import Size, full_alone
from verdict import Verdict

from dispatcher.core.record import Outgoing

ROW = "the dead-letter topic refuses writes, then recovers"
ROW_RIGHT = "write permission taken away and given back"

#: Dead letters that wait at one time: more than a function has places (16), so that they must not hold any.
POISON = 24
#: Seconds. Between two tries of a write are 10 at most.
RECOVERED = 15.0

Change = Callable[[], None]


def probe(fleet: Fleet, size: Size, refuse: Change, recover: Change, *verdicts: Verdict) -> None:
    """Dead letters that can be written; then ones that can't, among other events, in busy workers; then all of them."""
    count = 500 if size == "smoke" else 15_000
    dead = f"{fleet.stream}.handle.dead"
    send(fleet, [poison(fleet.stream, 1, 0), poison(fleet.stream, 2, 1)])
    until(lambda: fleet.length(dead) == 2 and fleet.lag() == 0, "the producer to be in use")

    others = [
        Outgoing(
            topic=fleet.stream, key=b"k%d" % (id_ % 40), value=value_of(id_, (id_ - 1_000) // 40), partition=id_ % 2
        )
        for id_ in range(1_000, 1_000 + count)
    ]
    send(fleet, others[: count // 2])
    until(lambda: len(fleet.ledger()) > 20, "the first of them")
    in_flight = sum(each.ended is None for each in fleet.ledger().handlings)
    refuse()
    for number in range(50):  # until the broker has heard of it
        send(fleet, [poison(fleet.stream, 50 + number, 0)])
        if waited(lambda: "can't be written" in fleet.said(), 0.3):
            break
    every = len(others) // 2 // POISON
    records: list[Outgoing] = []
    for number, record in enumerate(others[count // 2 :]):
        records.append(record)
        if number % every == 0 and number // every < POISON:
            records.append(poison(fleet.stream, 100 + number // every, record.partition or 0, size=5_000))
    send(fleet, records)
    waiting = {
        (record.partition, record.offset): record
        for record in fleet.records(fleet.stream)
        if (record.key or b"").startswith(b"poison") and int(record.value.split(b" ")[0]) >= 100
    }

    went_past = 0

    def look() -> bool:
        nonlocal went_past
        commits = fleet.commits()  # before the letters: what is written meanwhile has passed rightly
        written = letters(fleet)
        went_past = max(went_past, passed(commits, [each for each in waiting if each not in written]))
        return not fleet.ledger().missing(range(1_000, 1_000 + count))

    waited(look, 20 if size == "smoke" else 150, every=0.3)
    for _ in range(4):
        time.sleep(0.5)  # a commit interval each
        look()
    missing = len(fleet.ledger().missing(range(1_000, 1_000 + count)))
    held_back = len([each for each in waiting if each not in letters(fleet)])

    recover()
    began = time.monotonic()
    send(fleet, [poison(fleet.stream, 999, 0)])
    waited(lambda: fleet.lag() == 0, RECOVERED if verdicts[0].arm == "dispatch" else 8.0)
    recovery = time.monotonic() - began
    lag = fleet.lag()
    fleet.stop_all()
    written = letters(fleet)
    events = [record for record in fleet.records(fleet.stream) if (record.key or b"").startswith(b"poison")]
    for verdict in verdicts:
        verdict.at_least("events in flight at the refusal", in_flight, 1)
        verdict.at_least("dead letters that were held back", held_back, POISON)
        verdict.equal("of them, passed by a committed offset", went_past, 0)
        verdict.equal("other events not handled meanwhile", missing, 0)
        verdict.equal("events behind the commit after the recovery", lag, 0)
        verdict.at_most("recovery", recovery, RECOVERED, "s")
        verdict.equal("dead letters missing, or not byte for byte the event", lost_or_changed(events, written), 0)
        verdict.observe("dead letters written twice", sum(len(each) - 1 for each in written.values()))


ENVIRON = {
    "FAULTS_WORK": "30",
    "DISPATCH_DRAIN": "2",
    "DISPATCH_KAFKA__DELIVERY_TIMEOUT": "5",
}


def without_the_right(
    fleet: Callable[..., Fleet], cluster: KafkaCluster, size: Size, mutant: str | None, *verdicts: Verdict
) -> None:
    """The user of the workers may not write to the dead-letter topic, until it may again."""
    name, password = WORKER
    under_test = fleet(
        "refusing",
        mutant=mutant,
        environ=ENVIRON
        | {
            "DISPATCH_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "DISPATCH_KAFKA__USERNAME": name,
            "DISPATCH_KAFKA__PASSWORD": password,
        },
    )
    dead, admin = f"{under_test.stream}.handle.dead", cluster.bootstrap()
    under_test.create(2)
    under_test.create(2, stream=dead)
    for topic, operation, kind in (
        (under_test.stream, READ, 2),
        (dead, WRITE, 2),
        (under_test.name, READ, GROUP),
    ):
        asyncio.run(allow(admin, name, topic, operation, kind=kind))
    under_test.start(bootstrap=cluster.bootstrap("sasl"))
    probe(
        under_test,
        size,
        lambda: asyncio.run(forbid(admin, name, dead, WRITE)),
        lambda: asyncio.run(allow(admin, name, dead, WRITE)),
        *verdicts,
    )


def test_a_dead_letter_topic_that_may_not_be_written_to_for_a_while(
    fleet: Callable[..., Fleet], kafka_cluster: KafkaCluster, size: Size, verdict: Callable[..., Verdict]
) -> None:
    """No offset passes an event whose dead letter is refused, others go on, and the producer recovers with the right."""
    verdicts = verdict(f"{ROW} (ACL)"), verdict(ROW_RIGHT)
    without_the_right(fleet, kafka_cluster, size, None, *verdicts)
    for each in verdicts:
        each.must_hold()


def test_dropping_dead_letters_that_were_refused_is_seen(
    fleet: Callable[..., Fleet], kafka_cluster: KafkaCluster, verdict: Callable[..., Verdict]
) -> None:
    """The control: a dispatcher that takes a refused dead letter for written."""
    arm = verdict(f"{ROW} (ACL)", "drop_on_dead_letter_error")
    without_the_right(fleet, kafka_cluster, "smoke", arm.arm, arm)
    arm.must_break("of them, passed by a committed offset")
    arm.must_break("dead letters missing, or not byte for byte the event")


def test_a_producer_that_is_never_made_anew_is_seen(
    fleet: Callable[..., Fleet], kafka_cluster: KafkaCluster, verdict: Callable[..., Verdict]
) -> None:
    """The control: the client's idempotent producer can't go on after a refusal."""
    arm = verdict(ROW_RIGHT, "never_recreate_producer")
    without_the_right(fleet, kafka_cluster, "smoke", arm.arm, arm)
    arm.must_break("events behind the commit after the recovery")


def with_too_little_room(
    fleet: Callable[..., Fleet], bootstrap: str, size: Size, mutant: str | None, *verdicts: Verdict
) -> None:
    """The dead-letter topic takes records of 200 bytes, which not even a copy with nothing but coordinates has."""
    under_test = fleet("refusing", mutant=mutant, environ=ENVIRON)
    dead = f"{under_test.stream}.handle.dead"
    under_test.create(2)
    under_test.create(2, stream=dead)
    under_test.start()

    def take(size: int) -> None:
        async def alter() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await admin.start()
            try:
                config = {"max.message.bytes": str(size)}
                await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, dead, configs=config)])
            finally:
                await admin.close()

        asyncio.run(alter())

    probe(under_test, size, lambda: take(200), lambda: take(1_114_124), *verdicts)


def test_a_dead_letter_topic_with_too_little_room_for_a_while(
    fleet: Callable[..., Fleet], kafka_bootstrap: str, size: Size, verdict: Callable[..., Verdict]
) -> None:
    """While it takes not even a cut copy, its events wait; once it has room it gets them whole, not cut."""
    arm = verdict(f"{ROW} (max.message.bytes)")
    with_too_little_room(fleet, kafka_bootstrap, size, None, arm)
    arm.must_hold()


@full_alone
def test_dead_letters_that_stay_cut_are_seen(
    fleet: Callable[..., Fleet], kafka_bootstrap: str, verdict: Callable[..., Verdict]
) -> None:
    """The control: copies that were made small for a topic that has room again."""
    arm = verdict(f"{ROW} (max.message.bytes)", "keep_the_cut")
    with_too_little_room(fleet, kafka_bootstrap, "smoke", arm.arm, arm)
    arm.must_break("dead letters missing, or not byte for byte the event")


@pytest.mark.parametrize("mutant", [None, pytest.param("never_shrink", marks=full_alone)])
def test_an_event_that_its_dead_letter_topic_cannot_take_whole(
    fleet: Callable[..., Fleet], size: Size, verdict: Callable[..., Verdict], mutant: str | None
) -> None:
    """1,048,000 bytes and a dead letter's headers: whole where there is room, else cut, with the full coordinates."""
    arm = verdict("a record of 1,048,000 bytes that must become a dead letter", mutant or "dispatch")
    count = 200 if size == "smoke" or mutant else 20_000
    narrow, wide = (
        fleet("refusing", mutant=mutant, environ={"FAULTS_WORK": "5", "DISPATCH_DRAIN": "2"}) for _ in range(2)
    )
    large, full = 1_048_000, (("source", b"." * 300),)
    for each in (narrow, wide):
        each.create(1)
    # A topic with the default size was there before; that of the other is made by the worker.
    narrow.create(1, stream=f"{narrow.stream}.handle.dead")
    for each in (narrow, wide):
        each.feed(count, keys=10, begin=1_000)
        send(each, [Outgoing(topic=each.stream, key=b"poison", value=value_of(1, 0, large), headers=full, partition=0)])
        each.feed(count, keys=10, begin=1_000 + count)
        send(each, [poison(each.stream, 2, 0)])
        each.start()
    waited(lambda: narrow.lag() == 0 and wide.lag() == 0, 10 if mutant else 60)
    for each, which in ((narrow, "without"), (wide, "with room")):
        arm.equal(f"{which}: events behind the commit", each.lag(), 0)
        arm.equal(f"{which}: other events not handled", len(each.ledger().missing(range(1_000, 1_000 + 2 * count))), 0)
        each.stop_all()
    written = letters(wide)
    events = [record for record in wide.records(wide.stream) if (record.key or b"").startswith(b"poison")]
    arm.equal("with room: missing, or not byte for byte the event", lost_or_changed(events, written), 0)
    cut, small = (record for record in narrow.records(narrow.stream) if (record.key or b"").startswith(b"poison"))
    written = letters(narrow)
    arm.equal("without: other dead letters missing or changed", lost_or_changed([small], written), 0)
    found = written.get((cut.partition, cut.offset), [])
    arm.equal("without: cut copies with the full coordinates", sum(is_cut(cut, each) for each in found), 1)
    if mutant is None:
        arm.must_hold()
    else:
        arm.must_break("without: events behind the commit")


def is_cut(event: object, letter: object) -> bool:
    """Whether a dead letter is the begin of the event, and says where the rest is and how long it was."""
    added = dict(letter.headers)  # type: ignore[attr-defined]
    expected = {
        "stream": event.topic,  # type: ignore[attr-defined]
        "partition": event.partition,  # type: ignore[attr-defined]
        "offset": event.offset,  # type: ignore[attr-defined]
        "timestamp": event.timestamp,  # type: ignore[attr-defined]
        "truncated": len(event.value),  # type: ignore[attr-defined]
        "function": "handle",
        "reason": "rejected",
    }
    says = {name: added.get(f"dispatch-dead-{name}") for name in expected}
    value = letter.value  # type: ignore[attr-defined]
    return (
        says == {name: str(fact).encode() for name, fact in expected.items()}
        and len(value) >= 10_000
        and event.value.startswith(value)  # type: ignore[attr-defined]
    )
