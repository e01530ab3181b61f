"""Redrive and replay: killed in the middle, they go on, and repeat no more than one window of what they had done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from arms import side_by_side
from fleet import Fleet, until
from sizes import Size
from verdict import Verdict

from dispatcher.deadletters.redrive import WINDOW

REDRIVE = "kill -9 in the middle of a redrive, which is begun again"
REPLAY = "kill -9 in the middle of a replay, which is begun again"
COMMIT_INTERVAL = 0.5
# As apps/retrying.py tells events apart.
QUICK = 10_000

Makes = Callable[..., Fleet]
Judges = Callable[..., Verdict]


def probe_redrive(fleet: Fleet, verdict: Verdict, size: Size, **environ: str) -> None:
    """Dead letters are sent back to their function; each time a part of them is through, the redrive dies.

    ``environ`` is that of the redrives alone.
    """
    count, kills = (30_000, 3) if size == "full" else (1_200, 1)
    fleet.create(4)
    ids = fleet.feed(count, begin=QUICK)
    making = fleet.start("--until-caught-up", FAULTS_REJECT="yes")
    making.wait(300)
    dead, back = f"{fleet.stream}.handle.dead", f"{fleet.stream}.handle.retry"
    assert fleet.length(dead) == count
    # So many are on their way for seconds without a rate; in the smaller size a kill would come too late.
    rate = () if size == "full" else ("--rate", "1200")
    words = ("dlq", "redrive", "handle", str(fleet.source), "--yes", *rate)
    at_kills = []
    for kill in range(kills):
        redrive = fleet.command(*words, **environ)
        goal = fleet.length(back) + count // (2 * kills)
        until(lambda goal=goal: fleet.length(back) >= goal, "a part of the letters to be sent back", patience=300)
        at_kills.append(redrive.is_alive and fleet.length(back) < goal + count // (2 * kills))
        redrive.kill()
        if kill == 0:
            fleet.start()
    last = fleet.command(*words, **environ)
    exit_code = last.wait(300)
    until(lambda: not fleet.ledger().missing(ids), "all events to be done", patience=300, every=0.5)
    sent = fleet.length(back)
    until(lambda: handled(fleet) >= sent, "all that was sent back to be handled", patience=300, every=0.5)
    fleet.stop_all()
    calls = Counter(each.id for each in fleet.ledger().handlings if each.outcome != "Reject")
    verdict.observe("dead letters", count)
    verdict.equal("redrives killed in the middle", sum(at_kills), kills)
    verdict.equal("exit code of the last one", exit_code, 0)
    verdict.equal("letters never sent back", len(set(ids) - calls.keys()), 0)
    verdict.at_most(
        "letters sent back twice", sum(calls.values()) - len(calls), kills * WINDOW, "(a window for each kill)"
    )
    verdict.at_most("most times that one was sent back", max(calls.values(), default=0), 1 + kills)


def handled(fleet: Fleet) -> int:
    """Handlings that ended well."""
    return sum(each.ok for each in fleet.ledger().handlings)


def probe_replay(fleet: Fleet, verdict: Verdict, size: Size, **environ: str) -> None:
    """History is delivered again, at a rate; in the middle the replay dies, and events go on coming in meanwhile.

    ``environ`` is that of the replays alone.
    """
    count, rate, kills = (40_000, 2_000, 3) if size == "full" else (6_000, 1_000, 1)
    fleet.create(4)
    ids = fleet.feed(count, begin=QUICK)
    words = ("replay", "handle", str(fleet.source), "--yes", "--id", "again", "--rate", str(rate))
    window = 0
    at_kills = []
    for kill in range(kills):
        replay = fleet.command(*words, *(("--from", "earliest") if kill == 0 else ()), **environ)
        goal = (kill + 1) * count // (kills + 1)
        until(lambda goal=goal: len(fleet.ledger().succeeded()) >= goal, "a part of it to be done", patience=300)
        at_kills.append(replay.is_alive and len(fleet.ledger().running(time.monotonic_ns())) > 0)
        replay.kill()
        # What the last commit before the kill could not know of: an interval, and as long again to get there.
        ends = sorted(each.ended for each in fleet.ledger().handlings if each.ok and each.ended is not None)
        window += sum(each > ends[-1] - 2 * COMMIT_INTERVAL * 1e9 for each in ends)
        fleet.feed(100, begin=ids.stop + 100 * kill)
    exit_code = fleet.command(*words, **environ).wait(600)
    ledger = fleet.ledger()
    verdict.observe("events of it", count)
    verdict.equal("replays killed in the middle", sum(at_kills), kills)
    verdict.equal("exit code of the last one", exit_code, 0)
    verdict.equal("events never delivered", len(ledger.missing(ids)), 0)
    verdict.at_most("events delivered again", ledger.repeated(), window, "(two commit intervals' worth for each kill)")
    verdict.equal(
        "events delivered that came after it was begun", sum(each.id not in ids for each in ledger.handlings), 0
    )


def operating(fleet: Makes) -> Fleet:
    """A fleet that takes a silent member for dead after 3 s, so that who comes after waits no longer."""
    environ = {
        "FAULTS_WORK": "20",
        "DISPATCH_COMMIT_INTERVAL": str(COMMIT_INTERVAL),
        "DISPATCH_KAFKA__SESSION_TIMEOUT": "3",
    }
    return fleet("retrying", environ=environ)


def test_a_redrive_goes_on_after_a_kill(fleet: Makes, verdict: Judges, size: Size) -> None:
    """Every letter is sent back, and at most one window of them twice.

    The control: a redrive that commits nothing, and begins at the beginning.
    """
    judged, control = verdict(REDRIVE), verdict(REDRIVE, "commit_nothing")
    product, broken = operating(fleet), operating(fleet)
    side_by_side(
        partial(probe_redrive, product, judged, size),
        partial(probe_redrive, broken, control, size, FAULTS_MUTANT=control.arm),
    )
    judged.must_hold()
    control.must_break("letters sent back twice")


def test_a_replay_goes_on_after_a_kill(fleet: Makes, verdict: Judges, size: Size) -> None:
    """Every event of the span is delivered, those at the end of its commits again, and none beyond its end.

    The control: a replay that commits nothing, and begins at the beginning.
    """
    judged, control = verdict(REPLAY), verdict(REPLAY, "commit_nothing")
    product, broken = operating(fleet), operating(fleet)
    side_by_side(
        partial(probe_replay, product, judged, size),
        partial(probe_replay, broken, control, size, FAULTS_MUTANT=control.arm),
    )
    judged.must_hold()
    control.must_break("events delivered again")
