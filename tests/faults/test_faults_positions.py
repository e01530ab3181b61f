"""Where a function goes on when its commits, the log or the broker are not as it left them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String
from fleet import Fleet, until
from kafka_server import KafkaCluster
from ledger import value_of
from sizes import full_alone
from verdict import Verdict

from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.core.offsets import decode_metadata
from dispatcher.core.record import Committed, TopicPartition

Size = Literal["smoke", "full"]
Fleets = Callable[..., Fleet]
Verdicts = Callable[..., Verdict]

MOVED = "committed offset moved lower, higher, past the end, deleted; metadata of another program"
COMPACTED = "compacted topic: events vanish between two runs"
TRANSACTIONS = "transactional gaps and an aborted transaction, kill -9"
SMALL_METADATA = "a broker that takes 40 bytes of commit metadata, kill -9"
NEW_PARTITION = 'start="latest", a new partition, killed before its first commit'

#: How soon a successor of a killed member is let in: after Kafka's least session timeout, or in a quick run at once, for
#: it comes in the other's name.
SUCCESSION = {
    "full": {"DISPATCH_KAFKA__SESSION_TIMEOUT": "6"},
    "smoke": {"DISPATCH_KAFKA__INSTANCE_ID": "the-one"},
}
#: Seconds that a function has to catch up, before the lag is what it is.
CAUGHT_UP = 120.0
#: The first id of events that were aborted, and of those that stood in the log before the function first started.
ABORTED = OLD = 1_000_000


def succeeded(fleet: Fleet) -> int:
    """How many handlers have returned."""
    return sum(path.read_bytes().count(b" ok ") for path in fleet.folder.glob("*.ledger"))


def catch_up(fleet: Fleet, done: int) -> int:
    """Wait for the commits to reach the ends of the log, and return the lag that is left when they don't.

    Args:
        fleet: with a member that has started.
        done: how many handlers have returned when there is nothing more to handle: then commits are waited for no longer
            than three of their intervals.
    """
    give_up = time.monotonic() + CAUGHT_UP
    is_last = False
    while (lag := fleet.lag()) and time.monotonic() < give_up:
        if not is_last and succeeded(fleet) >= done:
            is_last, give_up = True, time.monotonic() + 1.5
        time.sleep(0.1)
    return lag


def handled_by(fleet: Fleet, instance: str) -> Counter[tuple[int, int]]:
    """(partition, offset) of what one process was handed."""
    return Counter((each.partition, each.offset) for each in fleet.ledger().handlings if each.instance == instance)


# -- commits that were changed from outside


class DeleteOffsetsResponse(Response):
    """OffsetDelete of the Kafka protocol, version 0 (KIP-496)."""

    API_KEY, API_VERSION = 47, 0
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(("name", String()), ("partitions", Array(("partition", Int32), ("error_code", Int16))))),
    )


class DeleteOffsetsStruct(RequestStruct):
    """What aiokafka has no request for."""

    API_KEY, API_VERSION = 47, 0
    RESPONSE_TYPE = DeleteOffsetsResponse
    SCHEMA = Schema(("group", String()), ("topics", Array(("name", String()), ("partitions", Array(Int32)))))


class DeleteOffsets(Request[DeleteOffsetsStruct]):
    """Delete a group's commit in one partition."""

    API_KEY = 47

    def __init__(self, group: str, partition: TopicPartition) -> None:
        self._content = group, partition

    def build(self, request_struct_class: type[DeleteOffsetsStruct]) -> DeleteOffsetsStruct:
        group, (topic, number) = self._content
        return request_struct_class(group, [(topic, [number])])


async def delete_commit(broker: KafkaBroker, group: str, partition: TopicPartition) -> None:
    """Delete what the group has committed for one partition; nobody is in it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.settings.servers)
    await admin.start()
    try:
        node = await admin.find_coordinator(group)
        answer = await admin._send_request_to_node(node, DeleteOffsets(group, partition))
        assert (answer.error_code, answer.topics) == (0, [(partition.topic, [(partition.partition, 0)])])
    finally:
        await admin.close()


def probe_moved(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Handle half of the records, change the commits as other programs do, and handle the rest."""
    half, hole = records // 2, records // 4
    # What becomes of the commit of each partition, and what must be handled after it.
    expected = [
        range(half, records),  # 0: untouched
        [hole, *range(half, records)],  # 1: untouched, and with an event that was not done
        range(half - 50, records),  # 2: moved lower
        range(half + 50, records),  # 3: moved higher: an operator skips some
        range(records),  # 4: moved past the end, as if the stream had been made anew
        range(records),  # 5: deleted
        range(hole - 20, records),  # 6: lower, with the metadata that was written for another offset
        range(half - 30, records),  # 7: lower, with metadata of another program
    ]
    group = f"{fleet.name}.handle"
    fleet.create(len(expected))
    for number in range(len(expected)):
        fleet.feed(half, begin=number * records, partition=number)
    fleet.start(FAULTS_UNDONE=json.dumps({"fails": {1: [hole], 6: [hole]}}))
    until(lambda: succeeded(fleet) == len(expected) * half - 2, "the first half to be handled")
    fleet.stop_all()
    found = fleet.commits()
    assert found[6].offset == hole
    assert found[6].metadata

    changed = {
        2: Committed(half - 50),
        3: Committed(half + 50),
        4: Committed(records * 10),
        6: Committed(hole - 20, found[6].metadata),
        7: Committed(half - 30, '{"offset": 3}'),
    }
    offsets = {TopicPartition(fleet.stream, number): commit for number, commit in changed.items()}
    fleet.ask(lambda broker: broker.set_offsets(group, offsets))
    fleet.ask(lambda broker: delete_commit(broker, group, TopicPartition(fleet.stream, 5)))
    for number in range(len(expected)):
        fleet.feed(records - half, begin=number * records + half, partition=number)

    before = fleet.commits()
    refusing = fleet.start(DISPATCH_ON_FOREIGN_METADATA="refuse")
    until(lambda: not refusing.is_alive or handled_by(fleet, refusing.name), "the one that refuses to end")
    refusing.kill()
    verdict.equal("handled by one that is to refuse other programs' metadata", len(handled_by(fleet, refusing.name)), 0)
    verdict.equal("commits that it changed", sum(before.get(number) != at for number, at in fleet.commits().items()), 0)

    last = fleet.start()
    wanted = Counter((number, offset) for number, offsets in enumerate(expected) for offset in offsets)
    verdict.equal("lag at the end", catch_up(fleet, succeeded(fleet) + wanted.total()), 0)
    fleet.stop_all()
    handled = handled_by(fleet, last.name)
    verdict.equal("not handled after it", (wanted - handled).total(), 0)
    verdict.equal("handled and not wanted", (handled - wanted).total(), 0)
    said = last.said().splitlines()
    warned = {
        number
        for number in range(len(expected))
        for line in said
        if f"{fleet.stream}/{number}:" in line and ("metadata that is ignored" in line or "the log ends at" in line)
    }
    verdict.equal("partitions warned of that must not be, or the reverse", len(warned ^ {4, 6, 7}), 0)


def moved_size(size: Size) -> int:
    """Records of each partition."""
    return 10_000 if size == "full" else 400


def test_a_commit_that_was_changed_is_followed(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """A commit counts as it stands, moved to either side or deleted; metadata that was not written for it does not, and
    the log says so, or by setting the function ends before it handles anything; nothing of what is left is lost."""
    result = verdict(MOVED)
    probe_moved(fleet("undone"), result, moved_size(size))
    result.must_hold()


@pytest.mark.parametrize("mutant", ["resets_to_latest", pytest.param("believes_metadata", marks=full_alone)])
def test_the_probe_sees_a_change_that_loses(fleet: Fleets, verdict: Verdicts, size: Size, mutant: str) -> None:
    """The end of the log in the place of a commit that can't be followed, and a map believed wherever it stands, lose."""
    result = verdict(MOVED, mutant)
    probe_moved(fleet("undone", mutant=mutant), result, moved_size(size))
    result.must_break("not handled after it")


# -- offsets that no event has


async def configure(bootstrap: str, *resources: ConfigResource) -> None:
    """Give topics or servers other settings; of a topic, all that are not named are the defaults again."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for answers in await admin.alter_configs(list(resources)):
            assert all(code == 0 for code, *_ in answers.resources), answers
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def eager_cleaner(kafka_bootstrap: str) -> None:
    """A log cleaner that looks for work twice a second, not every 15 seconds."""

    async def servers() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        await admin.start()
        try:
            return [str(each["node_id"]) for each in (await admin.describe_cluster())["brokers"]]
        finally:
            await admin.close()

    settings = {"log.cleaner.backoff.ms": "500"}
    every = [ConfigResource(ConfigResourceType.BROKER, name, settings) for name in asyncio.run(servers())]
    asyncio.run(configure(kafka_bootstrap, *every))


#: The keys are for the cleaner alone.
UNORDERED = {"FAULTS_ORDER": "none"}


def probe_compacted(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Leave two events behind, have one of them compacted away, and go on."""
    keys = 50
    gone, stays = records // 5, records - 10
    fleet.create(cleanup_policy="compact", segment_ms="100", min_compaction_lag_ms="86400000")
    fleet.feed(records, keys=keys)
    first = fleet.start(FAULTS_UNDONE=json.dumps({"fails": {0: [gone, stays]}}))
    until(lambda: succeeded(fleet) == records - 2, "all others to be done", every=0.2)
    fleet.stop_all()
    begun = fleet.commits()[0]
    assert begun.offset == gone

    eager = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
    asyncio.run(configure(fleet.bootstrap, ConfigResource(ConfigResourceType.TOPIC, fleet.stream, eager)))
    # The cleaner leaves the segment alone that is written to: each of these begins a new one.
    for extra in range(2):
        fleet.feed(1, begin=records + extra, keys=2 * records)
        time.sleep(0.15)
    until(
        lambda: all(record.offset != gone for record in fleet.records(fleet.stream)),
        "the log to be compacted", patience=90, every=0.3,
    )  # fmt: skip
    verdict.at_least("offsets compacted away", records + 2 - len(fleet.records(fleet.stream)), records // 2)

    second = fleet.start()
    verdict.equal("lag at the end", catch_up(fleet, records + 1), 0)
    fleet.stop_all()
    wanted = Counter([(0, stays), (0, records), (0, records + 1)])
    handled = handled_by(fleet, second.name)
    verdict.equal("not handled after it", (wanted - handled).total(), 0)
    verdict.equal("handled again", (handled - wanted).total(), 0)
    assert first.name != second.name


def compacted_size(size: Size) -> int:
    """Records of the partition."""
    return 10_000 if size == "full" else 500


@pytest.mark.usefixtures("eager_cleaner")
def test_what_was_compacted_away_is_not_waited_for(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """Compaction took the event at the very commit, and most of what the map speaks of: what is left is handled, nothing
    of it twice, and the commit reaches the end."""
    result = verdict(COMPACTED)
    probe_compacted(fleet("undone", environ=UNORDERED), result, compacted_size(size))
    result.must_hold()


@pytest.mark.usefixtures("eager_cleaner")
@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        pytest.param("expects_every_offset", "lag at the end", marks=full_alone),
        pytest.param("contiguous_only", "handled again", marks=full_alone),
    ],
)
def test_the_probe_sees_a_wait_for_what_is_gone(
    fleet: Fleets, verdict: Verdicts, size: Size, mutant: str, what: str
) -> None:
    """Who counts offsets as events never gets to the end, and who has no map handles again what is left in the log."""
    result = verdict(COMPACTED, mutant)
    probe_compacted(fleet("undone", mutant=mutant, environ=UNORDERED), result, compacted_size(size))
    result.must_break(what)


async def write_transactions(bootstrap: str, stream: str, each: int) -> None:
    """Four transactions of ``each`` records: one is committed, one aborted, one committed, and one left behind by its dead
    producer, which the next one aborts. Ids of those that must never be seen begin at ``ABORTED``."""
    name = f"{stream}-writer"
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name) as producer:
        for begin, commits in ((0, True), (ABORTED, False), (each, True)):
            await producer.begin_transaction()
            await _send(producer, stream, range(begin, begin + each))
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    dying = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name)
    await dying.start()
    try:
        await dying.begin_transaction()
        await _send(dying, stream, range(ABORTED + each, ABORTED + 2 * each))
        # Its successor's start aborts what it had begun.
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=name):
            pass
    finally:
        await dying.stop()


async def _send(producer: AIOKafkaProducer, stream: str, ids: Iterable[int]) -> None:
    sent = [await producer.send(stream, value_of(id_, id_), partition=0) for id_ in ids]
    await asyncio.gather(*sent)


def told(fleet: Fleet) -> int:
    """The offset before which the commit tells of everything that is done."""
    commit = fleet.commits().get(0)
    return 0 if commit is None else max((stop for _, stop in decode_metadata(*commit).done), default=commit.offset)


def probe_transactions(fleet: Fleet, verdict: Verdict, each: int) -> None:
    """Kill the owner of a partition full of gaps while two of its events run."""
    fleet.create()
    asyncio.run(write_transactions(fleet.bootstrap, fleet.stream, each))
    # The second is the first of the third transaction: two markers and the aborted records are before it.
    running = {(0, 5), (0, 2 * each + 2)}
    hangs = json.dumps({"hangs": {0: [offset for _, offset in running]}})
    first = fleet.start(FAULTS_UNDONE=hangs)
    until(lambda: told(fleet) >= 3 * each + 2, "all others to be done and committed", every=0.1)
    first.kill()
    verdict.equal("in flight at the kill", sum(each.outcome == "cut off" for each in fleet.ledger().handlings), 2)

    second = fleet.start()
    verdict.equal("lag at the end", catch_up(fleet, 2 * each), 0)
    fleet.stop_all()
    handled = handled_by(fleet, second.name)
    verdict.equal(
        "events of aborted transactions handled", sum(one.id >= ABORTED for one in fleet.ledger().handlings), 0
    )
    verdict.equal("missing", len(fleet.ledger().missing(range(2 * each))), 0)
    verdict.equal("handled again, and not in flight", (handled - Counter(running)).total(), 0)


def transaction_size(size: Size) -> int:
    """Records of each transaction."""
    return 5_000 if size == "full" else 200


def test_an_aborted_transaction_is_never_seen(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """What a producer aborted, or left behind when it died, reaches no function; its offsets and the markers hold nothing
    up, and what was done beyond them is known after a kill -9."""
    result = verdict(TRANSACTIONS)
    probe_transactions(fleet("undone", environ=SUCCESSION[size]), result, transaction_size(size))
    result.must_hold()


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        ("reads_uncommitted", "events of aborted transactions handled"),
        pytest.param("expects_every_offset", "lag at the end", marks=full_alone),
    ],
)
def test_the_probe_sees_aborted_events_and_a_wait(
    fleet: Fleets, verdict: Verdicts, size: Size, mutant: str, what: str
) -> None:
    """A client's own default hands over what was aborted, and who counts offsets as events never gets to the end."""
    result = verdict(TRANSACTIONS, mutant)
    probe_transactions(fleet("undone", mutant=mutant, environ=SUCCESSION[size]), result, transaction_size(size))
    result.must_break(what)


# -- a broker that takes little


@pytest.fixture(scope="module")
def narrow_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A server that takes 40 bytes of metadata with a commit, a hundredth of Kafka's default."""
    with KafkaCluster(tmp_path_factory.mktemp("narrow"), overrides={"offset.metadata.max.bytes": "40"}) as cluster:
        yield cluster


def probe_small(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Kill the owner of two partitions, one with an event that runs for ever and one with seven that wait,
    whose map can't fit."""
    one, seven = {records // 4}, {records * part // 40 for part in (1, 5, 10, 15, 20, 25, 30)}
    fleet.create(2)
    for number in range(2):
        fleet.feed(records, begin=number * records, partition=number)
    first = fleet.start(FAULTS_UNDONE=json.dumps({"hangs": {0: sorted(one)}, "fails": {1: sorted(seven)}}))
    enough = 2 * records * 3 // 4
    is_enough = goes_on_until(fleet, enough)
    first.kill()
    commits = fleet.commits()
    ledger = fleet.ledger()
    verdict.equal("goes on with eight events undone", is_enough, 1)
    if is_enough:
        assert any(each.outcome == "cut off" for each in ledger.handlings), "nothing was in flight at the kill"
    verdict.at_most("longest metadata", max((len(each.metadata) for each in commits.values()), default=0), 40, "bytes")
    verdict.equal("warnings of it", first.said().count("offset.metadata.max.bytes"), 1)
    done = ledger.succeeded()

    second = fleet.start()
    verdict.equal("lag at the end", catch_up(fleet, 100 * records), 0)
    fleet.stop_all()
    verdict.equal("missing", len(fleet.ledger().missing(range(2 * records))), 0)
    again = [each for each in fleet.ledger().handlings if each.instance == second.name and each.id in done]
    # Of one undone event the map fits: the rest is what a commit interval had not told yet.
    verdict.at_most("done and delivered again beside one undone", sum(each.partition == 0 for each in again), 1_000)
    verdict.observe("done and delivered again beside seven undone", sum(each.partition == 1 for each in again))


def goes_on_until(fleet: Fleet, count: int, *, silence: float = 5.0) -> bool:
    """Wait until so many handlers have returned; False once none has for ``silence`` seconds since the first."""
    until(lambda: succeeded(fleet), "the first event")
    before, last = 0, time.monotonic()
    while (now := succeeded(fleet)) < count:
        if now > before:
            before, last = now, time.monotonic()
        if time.monotonic() - last > silence:
            return False
        time.sleep(0.01)
    return True


def fleet_of_small(folder: Path, kafka: KafkaCluster, size: Size, mutant: str | None = None) -> Fleet:
    """On a server of its own, with a commit every 50 ms, and few events at hand: what waits for room is seen to."""
    environ = {**SUCCESSION[size], "FAULTS_WORK": "1", "FAULTS_HELD": "1000", "DISPATCH_COMMIT_INTERVAL": "0.05"}
    return Fleet(folder, kafka.bootstrap(), "undone", mutant=mutant, environ=environ)


def small_size(size: Size) -> int:
    """Records of each partition."""
    return 50_000 if size == "full" else 6_000


def test_a_broker_that_takes_little_metadata_is_served(
    tmp_path: Path, narrow_kafka: KafkaCluster, verdict: Verdicts, size: Size
) -> None:
    """Commits that the broker finds too long are made shorter, and the log says so once: nothing waits for room in the
    map, and what does not fit is delivered again, not lost."""
    result = verdict(SMALL_METADATA)
    with fleet_of_small(tmp_path, narrow_kafka, size) as fleet:
        probe_small(fleet, result, small_size(size))
    result.must_hold()


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        ("ignores_refused_metadata", "warnings of it"),
        pytest.param("waits_for_room", "goes on with eight events undone", marks=full_alone),
    ],
)
def test_the_probe_sees_refused_commits_and_a_wait_for_room(
    tmp_path: Path, narrow_kafka: KafkaCluster, verdict: Verdicts, size: Size, mutant: str, what: str
) -> None:
    """Who takes no note of refused commits says nothing of them, and who waits for room waits as long as the events do."""
    result = verdict(SMALL_METADATA, mutant)
    with fleet_of_small(tmp_path, narrow_kafka, size, mutant) as fleet:
        probe_small(fleet, result, small_size(size))
    result.must_break(what)


# -- where start="latest" is not meant


def probe_new_partitions(fleet: Fleet, verdict: Verdict, records: int) -> None:
    """Add a partition that a member learns of and has not committed, and one that it does not learn of; then kill it."""
    fleet.create(2)
    for number in range(2):
        fleet.feed(records, begin=OLD + number * records, partition=number)
    first = fleet.start(FAULTS_HOLDS_COMMITS="2")
    until(lambda: len(fleet.commits()) == 2, "the group's first commits")
    fleet.feed(records, partition=0)
    until(lambda: succeeded(fleet) == records, "the first events")

    fleet.ask(lambda broker: broker.add_partitions(fleet.stream, 3))
    fleet.feed(records, begin=records, partition=2)
    until(lambda: "a commit is held" in first.said(), "the member to learn of partition 2")
    fleet.ask(lambda broker: broker.add_partitions(fleet.stream, 4))
    fleet.feed(records, begin=2 * records, partition=3)
    first.kill()
    verdict.equal("commits in the new partitions at the kill", len({2, 3} & fleet.commits().keys()), 0)

    fleet.start()
    until(lambda: {2, 3} <= fleet.commits().keys(), "the successor to begin in the new partitions", patience=CAUGHT_UP)
    verdict.equal("lag at the end", catch_up(fleet, 3 * records), 0)
    fleet.stop_all()
    ledger = fleet.ledger()
    verdict.equal("missing of the new partitions", len(ledger.missing(range(records, 3 * records))), 0)
    verdict.equal("missing of the old ones", len(ledger.missing(range(records))), 0)
    verdict.equal("events from before the start", sum(each.id >= OLD for each in ledger.handlings), 0)


def fleet_of_new_partitions(fleet: Fleets, size: Size, mutant: str | None = None) -> Fleet:
    """start="latest"; a quick run does not wait 10 s for the member to learn of a partition."""
    age = {"FAULTS_METADATA_AGE": "0.5"} if size == "smoke" else {}
    return fleet("latest", mutant=mutant, environ={**SUCCESSION[size], **age})


def test_a_new_partition_is_delivered_from_its_begin(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """start="latest" is meant for the group's beginning: what stands in a partition that came later is delivered, though
    its owner was killed before its first commit, or before it knew of it, and its successor never saw the stream without."""
    result = verdict(NEW_PARTITION)
    probe_new_partitions(fleet_of_new_partitions(fleet, size), result, 2_000 if size == "full" else 100)
    result.must_hold()


def test_the_probe_sees_a_new_partition_skipped(fleet: Fleets, verdict: Verdicts, size: Size) -> None:
    """An engine that asks start= wherever there is no commit begins behind them."""
    result = verdict(NEW_PARTITION, "start_wherever_no_commit_is")
    mutated = fleet_of_new_partitions(fleet, size, "start_wherever_no_commit_is")
    probe_new_partitions(mutated, result, 2_000 if size == "full" else 100)
    result.must_break("missing of the new partitions")
