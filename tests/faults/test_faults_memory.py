"""A backlog that no handler takes: memory and membership stay as they are, and it goes on when it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet import Fleet, Member, until
from sizes import Size
from verdict import Verdict

ROW = "every handler blocked, a backlog of 10 KB records"
PARTITIONS = 6
#: What the fetches under way may add: the client reads up to 1 MiB of each partition, and holds it while it hands it over.
OVERHEAD = 24_000_000


def peak(member: Member) -> int:
    """The most bytes of memory that a member has held so far."""
    status = Path(f"/proc/{member.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def probe(fleet: Fleet, verdict: Verdict, gate: Path, *, records: int, held: int, blocked: float) -> None:
    """Have the handlers of one member wait while a backlog grows before it, then let them go."""
    fleet.create(PARTITIONS)
    member = fleet.start()
    fleet.feed(1)
    until(lambda: len(fleet.ledger()), "a handler to be blocked")
    before = member.rss()
    fleet.feed(records - 1, keys=1_000, size=10_000, begin=1)
    began = time.monotonic()
    until(lambda: fleet.ledger().running(time.monotonic_ns())[15:], "every handler to be blocked")
    until(lambda: time.monotonic() - began > blocked, "time to pass", patience=blocked + 10)
    assert not fleet.ledger().succeeded(), "somebody was let through"
    while_blocked = peak(member) - before
    members = fleet.ask(lambda broker: broker.group_members(f"{fleet.name}.handle"))
    gate.touch()
    is_done = True
    try:
        until(
            lambda: member.is_alive and not fleet.lag() and not fleet.ledger().missing(range(records)),
            "all to be done and committed",
            patience=10 + records / 500,
            every=0.5,
        )
    except AssertionError:
        is_done = False
    ledger = fleet.ledger()
    megabyte = 1_000_000
    verdict.observe("backlog", records * 10_000 / megabyte, "MB")
    verdict.observe("memory before", before / megabyte, "MB")
    limit = (held + OVERHEAD) / megabyte
    verdict.at_most(f"memory more, with {held // megabyte} MB allowed", while_blocked / megabyte, limit, "MB")
    verdict.at_most("memory more, catching up", (peak(member) - before) / megabyte, limit, "MB")
    verdict.equal("members of the group after that", members, 1)
    verdict.equal("assignments", max(each.epoch for each in ledger.handlings), 1)
    verdict.equal("all is done once the handlers go on", is_done, expected=True)
    verdict.equal("calls beyond the first", ledger.redelivered(), 0)


def test_a_backlog_that_no_handler_takes(
    fleet: Callable[..., Fleet], verdict: Callable[..., Verdict], size: Size, tmp_path: Path
) -> None:
    """Memory stays below the configured bytes and a fixed overhead, however much waits and however long; the member stays
    in its group through it, and goes on when its handlers do. Without watermarks it takes in all that there is, and
    under the client's own rule it leaves the group."""
    full = size == "full"
    held, blocked = (64_000_000, 120.0) if full else (16_000_000, 4.0)
    arms = [
        (None, 300_000 if full else 6_000),
        ("no_watermarks", 30_000 if full else 6_000),
        ("leaves_when_idle", 10_000 if full else 3_000),
    ]
    runs: list[tuple[Verdict, Fleet, Path, int]] = []
    for mutant, records in arms:
        gate = tmp_path / f"gate-{mutant}"
        environ = {
            "FAULTS_GATE": str(gate),
            "FAULTS_HELD": str(held),
            "FAULTS_POLL_INTERVAL": str(int(blocked * 500)),
        }
        runs.append((verdict(ROW, mutant or "dispatch"), fleet("gated", mutant=mutant, environ=environ), gate, records))
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(probe, under_test, each, gate, records=records, held=held, blocked=blocked)
            for each, under_test, gate, records in runs
        ]
        for each in running:
            each.result()
    product, unbounded, leaving = (each for each, *_ in runs)
    product.must_hold()
    unbounded.must_break(f"memory more, with {held // 1_000_000} MB allowed")
    leaving.must_break("members of the group after that")
