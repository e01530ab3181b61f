"""What can't be read any more: counted, told, passed only where a setting says so, and no further than it reaches."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, Member, until, waited
from kafka_server import KafkaCluster
from ledger import value_of
from letters import letters
from sizes import Size, full_alone
from verdict import Verdict
from wreck import append, bomb, delete_before, flip

from dispatcher.core.offsets import decode_metadata

ROW_CORRUPT = "one worker's fetch of a corrupt batch"
ROW_BOMB = "a decompression bomb in the log"
ROW_RETENTION = "retention past the committed offset"
ROW_CLOCK = "the worker's clock 2 days ahead"

#: First ids of what stands before the damage, in it, after it, and in the other partition.
BEFORE, WITHIN, AFTER, BESIDE = 0, 100_000, 200_000, 300_000


def pairs(ids: Iterable[int], size: int = 0) -> list[tuple[bytes, bytes]]:
    """Keys and values of events with these ids."""
    return [(b"k%d" % (id_ % 50), value_of(id_, id_, size)) for id_ in ids]


def batches(ids: range, size: int = 1_000) -> list[list[tuple[bytes, bytes]]]:
    """The same in batches of 100."""
    return [pairs(ids[at : at + 100], size) for at in range(0, len(ids), 100)]


def statistics(member: Member) -> dict[str, Any]:
    """The summary that a member printed at its end (``-o jsonl``); empty when it was ended before it could."""
    if (found := re.search(r'^\{"functions".*', member.said(), re.MULTILINE)) is None:
        return {}
    [function] = json.loads(found[0])["functions"]
    assert isinstance(function, dict)
    return function


def peak_memory(member: Member) -> int:
    """The most bytes that it has held."""
    status = Path(f"/proc/{member.process.pid}/status").read_text()
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kibibytes) * 1024


# -- a corrupt batch


def corrupt(
    fleet: Fleet, cluster: KafkaCluster, size: Size, arm: Verdict, *, on_corrupt: str = "skip", promise: str = "skip"
) -> None:
    """A byte is flipped in a long batch that a busy worker has not fetched yet."""
    within = range(WITHIN, WITHIN + (2_000 if size == "smoke" else 20_000))
    # More than is fetched at once, so that the damage lies beyond what the worker has.
    before = range(BEFORE, BEFORE + 1_600)
    after = range(AFTER, AFTER + (100 if size == "smoke" else 20_000))
    beside = range(BESIDE, BESIDE + (800 if size == "smoke" else 40_000))
    fleet.create(2)
    append(fleet.bootstrap, fleet.stream, 0, [*batches(before), pairs(within), *batches(after)])
    append(fleet.bootstrap, fleet.stream, 1, batches(beside))
    member = fleet.start("-o", "jsonl", DISPATCH_ON_CORRUPT=on_corrupt)
    until(lambda: len(fleet.ledger()) > 50, "the first events")
    flip(cluster, fleet.stream, 0, value_of(within[len(within) // 2], within[len(within) // 2]))
    at_the_flip = fleet.ledger()
    assert sum(each.partition == 0 for each in at_the_flip.handlings) < 800, "it may have fetched the batch already"
    arm.at_least("events in flight at the damage", sum(each.ended is None for each in at_the_flip.handlings), 1)

    patience = 12 if arm.arm == "skip_to_the_end" else 30 if size == "smoke" else 300
    good = [*before, *beside, *after] if promise == "skip" else [*before, *beside]
    waited(
        lambda: not fleet.ledger().missing(good) and fleet.lag() in ({0, len(within) + len(after)}), patience, every=0.3
    )
    if promise == "stop":  # what it might yet do
        waited(lambda: bool(fleet.ledger().succeeded() & set(after)), 2)
    commit = fleet.commits()[0].offset
    fleet.stop_all()
    ledger, found = fleet.ledger(), statistics(member)
    named = f"{fleet.stream}/0@{len(before)}-{len(before) + len(within) - 1} can't be read"
    errors = [line for line in member.said().splitlines() if " ERROR " in line and named in line]
    arm.equal("good events not handled", len(ledger.missing(good)), 0)
    arm.equal("events of the batch handled", len(ledger.succeeded() & set(within)), 0)
    arm.at_least("errors in the log that name what can't be read", len(errors), 1)
    if promise == "skip":
        arm.equal("offsets counted as skipped", found.get("skipped", -1), len(within))
        last = max((each.ended or 0 for each in ledger.handlings if each.id in before), default=0)
        first = min((each.started for each in ledger.handlings if each.id in after), default=last + 999 * 10**9)
        arm.at_most("from the last event before it to the first after it", (first - last) / 1e9, 2, "s")
    else:
        arm.equal("offsets skipped", found.get("skipped", -1), 0)
        arm.equal("the commit, against the batch's begin", commit - len(before), 0)
        arm.equal("events behind it handled", len(ledger.succeeded() & set(after)), 0)


ENVIRON = {"FAULTS_WORK": "20", "FAULTS_HELD": "100", "DISPATCH_DRAIN": "2"}


@pytest.mark.parametrize(
    "mutant", [None, pytest.param("skip_singly", marks=full_alone), pytest.param("skip_to_the_end", marks=full_alone)]
)
def test_a_corrupt_batch_is_passed_whole_where_that_is_asked_for(
    fleet: Callable[..., Fleet],
    kafka_cluster: KafkaCluster,
    size: Size,
    verdict: Callable[..., Verdict],
    mutant: str | None,
) -> None:
    """on_corrupt="skip": that batch and nothing else is passed at once, counted, named in the log; others go on."""
    arm = verdict(f'{ROW_CORRUPT} (on_corrupt="skip")', mutant or "dispatch")
    corrupt(fleet("refusing", mutant=mutant, environ=ENVIRON), kafka_cluster, "smoke" if mutant else size, arm)
    if mutant is None:
        arm.must_hold()
    elif mutant == "skip_singly":
        arm.must_break("from the last event before it to the first after it")
    else:
        arm.must_break("good events not handled")


@pytest.mark.parametrize("on_corrupt", ["stop", "skip"])
def test_a_corrupt_batch_stops_its_partition_alone(
    fleet: Callable[..., Fleet],
    kafka_cluster: KafkaCluster,
    size: Size,
    verdict: Callable[..., Verdict],
    on_corrupt: str,
) -> None:
    """By default nothing is passed: the partition waits before the batch, told in the log, and others go on."""
    arm = verdict(ROW_CORRUPT, "dispatch" if on_corrupt == "stop" else 'on_corrupt="skip"')
    under_test = fleet("refusing", environ=ENVIRON)
    corrupt(
        under_test, kafka_cluster, "smoke" if on_corrupt == "skip" else size, arm, on_corrupt=on_corrupt, promise="stop"
    )
    if on_corrupt == "stop":
        arm.must_hold()
    else:
        arm.must_break("offsets skipped")


# -- a bomb


@pytest.mark.parametrize("mutant", [None, pytest.param("no_batch_limit", marks=full_alone)])
def test_a_decompression_bomb_leaves_memory_and_other_streams_alone(
    fleet: Callable[..., Fleet], size: Size, verdict: Callable[..., Verdict], mutant: str | None
) -> None:
    """Batches of some KB that become hundreds of MB are not decompressed: counted, told, passed; the rest goes on."""
    arm = verdict(ROW_BOMB, mutant or "dispatch")
    bytes_of_a_bomb = (400 if size == "smoke" or mutant else 1_000) << 20
    under_test = fleet("refusing", mutant=mutant, environ={"FAULTS_WORK": "5", "DISPATCH_DRAIN": "2"})
    under_test.create(2)
    count = 300 if size == "smoke" or mutant else 10_000
    good = [*range(count), *range(AFTER, AFTER + count), *range(BESIDE, BESIDE + 2 * count)]
    append(under_test.bootstrap, under_test.stream, 0, batches(range(count), 100))
    written = [
        bomb(under_test.bootstrap, under_test.stream, 0, bytes_of_a_bomb, codec=each) for each in ("zstd", "gzip")
    ]
    append(under_test.bootstrap, under_test.stream, 0, batches(range(AFTER, AFTER + count), 100), codec="zstd")
    append(under_test.bootstrap, under_test.stream, 1, batches(range(BESIDE, BESIDE + 2 * count), 100), codec="gzip")
    member = under_test.start("-o", "jsonl", DISPATCH_ON_CORRUPT="skip")
    highest = Highest(member)
    with highest:
        waited(lambda: not under_test.ledger().missing(good), 15 if mutant else 120)
    under_test.stop_all()
    arm.at_most("bytes of the zstd bomb in the log", written[0], 64_000)
    arm.equal("good events not handled", len(under_test.ledger().missing(good)), 0)
    arm.at_most("peak memory", highest.bytes >> 20, 300, "MiB")
    arm.equal("offsets counted as skipped", statistics(member).get("skipped", -1), 2)
    said = re.findall(r"0@(\d+) can't be read: .*max_batch_bytes", member.said())
    arm.at_least("bombs that the log tells of", len(said), 1)
    if mutant is None:
        arm.must_hold()
    else:
        arm.must_break("peak memory")


class Highest:
    """Looks how much memory a member has held at most, until it ends."""

    def __init__(self, member: Member) -> None:
        self.bytes = 0
        self._member = member
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while self._member.is_alive:
            self.bytes = max(self.bytes, peak_memory(self._member))
            if self._ended.wait(0.1):
                return


@pytest.mark.parametrize("mutant", [None, "codec_is_damage"])
def test_records_whose_codec_is_not_installed_are_not_taken_for_damaged(
    fleet: Callable[..., Fleet], verdict: Callable[..., Verdict], tmp_path: Path, mutant: str | None
) -> None:
    """The function ends with an error that says what to install; not one event is passed, whatever on_corrupt says."""
    arm = verdict("a batch whose codec is not installed", mutant or "dispatch")
    (tmp_path / "cramjam.py").write_text('raise ImportError("it is not installed")\n')
    under_test = fleet("refusing", mutant=mutant)
    under_test.create(1)
    append(under_test.bootstrap, under_test.stream, 0, batches(range(100)))
    append(under_test.bootstrap, under_test.stream, 0, batches(range(100, 200)), codec="zstd")
    faults = Path(__file__).parent
    path = os.pathsep.join(map(str, [tmp_path, faults, faults.parents[1]]))
    member = under_test.start("-o", "jsonl", DISPATCH_ON_CORRUPT="skip", PYTHONPATH=path)
    waited(lambda: not member.is_alive or "skipped" in member.said(), 30)
    waited(lambda: not member.is_alive, 1 if mutant else 30)
    arm.equal("ended", not member.is_alive, 1)
    under_test.stop_all()
    arm.at_least(
        "errors that say what to install", member.said().count("zstd") and member.said().count("pip install"), 1
    )
    arm.equal("offsets counted as skipped", statistics(member).get("skipped", -1), 0)
    arm.at_most("the commit", under_test.commits()[0].offset, 100)
    if mutant is None:
        arm.must_hold()
        again = under_test.start()
        until(lambda: not under_test.ledger().missing(range(200)), "all events, once it is installed")
        again.terminate()
    else:
        arm.must_break("offsets counted as skipped")


# -- retention


@pytest.mark.parametrize("mutant", [None, pytest.param("reset_in_silence", marks=full_alone)])
@pytest.mark.parametrize("when", ["while it is down", "while it runs"])
def test_events_that_retention_takes_are_counted_and_told(
    fleet: Callable[..., Fleet], size: Size, verdict: Callable[..., Verdict], when: str, mutant: str | None
) -> None:
    """Exactly what is gone and was not handled is counted, in statistics and in the log; all the rest is delivered."""
    arm = verdict(f"{ROW_RETENTION} ({when})", mutant or "dispatch")
    count = 3_000 if size == "smoke" or mutant else 50_000
    begin = count * 3 // 4
    under_test = fleet("refusing", mutant=mutant, environ=ENVIRON)
    under_test.create(1)
    append(under_test.bootstrap, under_test.stream, 0, batches(range(count)))
    member = under_test.start("-o", "jsonl")
    until(lambda: under_test.ledger().succeeded() and len(under_test.ledger()) > 200, "the first events")
    in_flight = sum(each.ended is None for each in under_test.ledger().handlings)
    if when == "while it is down":
        until(under_test.commits, "a commit")
        member.kill()
    delete_before(under_test.bootstrap, under_test.stream, 0, begin)
    if when == "while it is down":
        commit = under_test.commits()[0]
        done = sum(stop - start for start, stop in decode_metadata(commit.offset, commit.metadata).done)
        gone = begin - commit.offset - done
        member = under_test.start("-o", "jsonl")
    waited(lambda: under_test.lag() == 0, 60)
    lag = under_test.lag()
    under_test.stop_all()
    ledger = under_test.ledger()
    if when == "while it runs":
        gone = len(ledger.missing(range(begin)))
    arm.at_least("events in flight at the fault", in_flight, 1)
    arm.at_least("events that are gone", gone, 100)
    arm.equal("offsets counted as skipped, against that", statistics(member).get("skipped", -1) - gone, 0)
    arm.at_least("errors in the log that say so", member.said().count("Retention is too short for the lag"), 1)
    arm.equal("events that are there and were not handled", len(ledger.missing(range(begin, count))), 0)
    arm.equal("events behind the commit", lag, 0)
    if mutant is None:
        arm.must_hold()
    else:
        arm.must_break("offsets counted as skipped, against that")
        arm.must_break("errors in the log that say so")


# -- a wrong clock


def faketime() -> str:
    """The library that shifts a process's clock; skips the test where there is none."""
    if found := next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None):
        return str(found)
    pytest.skip("libfaketime is not installed: apt-get install faketime")


@pytest.mark.parametrize("mutant", [None, pytest.param("trust_the_clock", marks=full_alone)])
def test_a_worker_whose_clock_is_two_days_ahead_writes_what_it_must(
    fleet: Callable[..., Fleet], size: Size, verdict: Callable[..., Verdict], mutant: str | None
) -> None:
    """The broker refuses such a time; dead letters, retry copies and results are written all the same, and it is told."""
    arm = verdict(ROW_CLOCK, mutant or "dispatch")
    count = 90 if size == "smoke" or mutant else 9_000
    under_test = fleet(
        "writing", mutant=mutant, environ={"DISPATCH_DRAIN": "2", "DISPATCH_KAFKA__DELIVERY_TIMEOUT": "5"}
    )
    under_test.create(2)
    under_test.feed(count)
    member = under_test.start(
        "-o", "jsonl", LD_PRELOAD=faketime(), FAKETIME="+2d", FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1"
    )
    results = f"{under_test.stream}.results"

    def is_done() -> bool:
        return under_test.lag() == 0 and under_test.lag(stream=f"{under_test.stream}.handle.retry") == 0

    waited(is_done, 10 if mutant else 90)
    lag = under_test.lag()
    under_test.stop_all()
    ledger = under_test.ledger()
    arm.equal("events behind the commit", lag, 0)
    arm.equal("dead letters", len(letters(under_test)), count // 3)
    arm.equal("second attempts, after their retry copy", sum(n == 2 for n in ledger.attempts().values()), count // 3)
    arm.equal("results", len({record.value for record in under_test.records(results)}), count // 3)
    now = time.time() * 1000
    late = [record for record in under_test.records(results) if record.timestamp > now]
    arm.equal("results of a time to come", len(late), 0)
    arm.at_least("errors in the log about the clock", member.said().count("clock wrong"), 1)
    if mutant is None:
        arm.must_hold()
    else:
        arm.must_break("dead letters")
        arm.must_break("results")
