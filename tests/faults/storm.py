"""Storms: disturbances drawn from a seed, brought upon busy members, and written down as they came.

The same seed gives the same disturbances in the same order, with the same pauses between them, upon the members of the
same rank. What the operating system and the broker do meanwhile is theirs; ``storm.jsonl``, beside the ledger, has the
time of each disturbance and what was in flight when it came.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

from fleet import Fleet, Member

from dispatcher.errors import BrokerError

__all__ = ["UNGRACEFUL", "Disturbance", "Feeder", "Kind", "Server", "Step", "Storm", "Watch", "schedule"]

Kind = Literal["join", "terminate", "restart", "kill", "freeze", "outage"]
#: After these, what was done and not committed comes again.
UNGRACEFUL: frozenset[Kind] = frozenset({"kill", "freeze", "outage"})

# Seconds between two looks at the ledger.
_LOOK_EVERY = 0.05
# Exit codes of one that was asked to end by SIGTERM: before it listened for the signal, or after.
_AS_ASKED = (0, 128 + signal.SIGTERM, -signal.SIGTERM)


class Server(Protocol):
    """A broker's server that can be killed: a node of the suite's Kafka."""

    def kill(self) -> None: ...
    def start(self) -> int: ...
    def wait_until_ready(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One disturbance to come.

    Args:
        after: seconds since the one before.
        kind: what happens.
        rank: which member it happens to: this part of the way through those that run, oldest first.
        lasts: seconds of a freeze or an outage.
    """

    after: float
    kind: Kind
    rank: float
    lasts: float


@dataclass(slots=True)
class Disturbance:
    """One that came. Times are nanoseconds of ``CLOCK_MONOTONIC``, as in the ledger; ``until`` is when it was over."""

    kind: Kind
    member: str
    at: int
    until: int
    in_flight: int


def schedule(
    seed: int,
    count: int,
    kinds: Sequence[Kind],
    *,
    after: tuple[float, float],
    lasts: tuple[float, float] = (1.0, 1.0),
) -> list[Step]:
    """``count`` disturbances. The kinds are dealt like cards, so that a storm has its share of each, whatever its seed."""
    rng = random.Random(seed)
    deck: list[Kind] = []
    steps = []
    for _ in range(count):
        if not deck:
            deck = rng.sample(list(kinds), len(kinds))
        steps.append(Step(rng.uniform(*after), deck.pop(), rng.random(), rng.uniform(*lasts)))
    return steps


class Watch:
    """What the ledger says so far, read on from where the last look ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = defaultdict(int)
        self._running: dict[str, dict[str, int]] = defaultdict(dict)
        self.calls = 0
        self.succeeded: set[int] = set()

    def look(self) -> Self:
        """Read what is new."""
        for path in self._folder.glob("*.ledger"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._read[path] += len(text)
            running = self._running[path.stem]
            for line in text.decode().splitlines():
                kind, number, what, *_ = line.split(" ", 3)
                if kind == "S":
                    self.calls += 1
                    running[number] = int(what)
                else:
                    id_ = running.pop(number)
                    if what == "ok":
                        self.succeeded.add(id_)
        return self

    def in_flight(self, instance: str) -> int:
        """How many handlers of a process had begun and not ended at the last look."""
        return len(self._running[instance])


@dataclass(slots=True)
class Feeder:
    """Keeps a storm in work: sends ``total`` records, and while :attr:`storming` more of them when they run out.

    Args:
        fleet: whose stream.
        total: records to send, at least.
        chunk: records sent at once.
        reserve: uncommitted records below which the next chunk is sent.
        keys: see :meth:`Fleet.feed`.
        outage: held while the broker is away: nothing is sent then, so that what was sent is known.
    """

    fleet: Fleet
    total: int
    chunk: int
    reserve: int
    keys: int
    outage: threading.Lock
    sent: int = 0
    storming: bool = True
    error: BaseException | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._send()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.storming = False
        if self._thread is not None:
            self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while self.storming:
                with self.outage:
                    # What is committed counts, for a dispatcher that loses events would leave the storm without work.
                    if self._lag() < self.reserve:
                        self._send()
                time.sleep(0.3)
            while self.sent < self.total:
                self._send()
        except BaseException as error:  # noqa: BLE001 - raised where the feeder is left
            self.error = error

    def _lag(self) -> int:
        try:
            return self.fleet.lag()
        except BrokerError:
            return self.reserve  # not known yet, just after an outage

    def _send(self) -> None:
        self.fleet.feed(self.chunk, keys=self.keys, begin=self.sent)
        self.sent += self.chunk


@dataclass
class Storm:
    """Brings the steps upon a fleet.

    A member that goes when there are no more than ``least`` is replaced at once, and one that comes when there are ``most``
    takes another's place, so that no step is left out.

    Args:
        fleet: its first members have been started.
        steps: see :func:`schedule`.
        least: members that always run.
        most: members that run at most.
        patience: seconds that a disturbance waits for somebody to be at work.
        steady: seconds that its victim has been at work by then: enough for a commit, where that is to have been made.
        server: what an outage kills.
    """

    fleet: Fleet
    steps: Sequence[Step]
    least: int = 2
    most: int = 4
    patience: float = 20.0
    steady: float = 0.0
    server: Server | None = None
    log: list[Disturbance] = field(default_factory=list)
    outage: threading.Lock = field(default_factory=threading.Lock)
    _frozen: dict[str, tuple[float, Disturbance]] = field(default_factory=dict)
    _leaving: set[str] = field(default_factory=set)

    def run(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Bring all of them, or until it is enough; returns when nobody is frozen and the server runs."""
        watch = Watch(self.fleet.folder)
        try:
            for step in self.steps:
                self._pass_time(step.after)
                if enough():
                    break
                for _ in range(len(self.staying) + len(self._frozen), self.least):
                    self.fleet.start()
                self._bring(step, self._choose(step, watch), watch)
        finally:
            while self._frozen:
                self._pass_time(_LOOK_EVERY)
            (self.fleet.folder / "storm.jsonl").write_text(
                "".join(json.dumps(asdict(each)) + "\n" for each in self.log)
            )

    @property
    def staying(self) -> list[Member]:
        """Those that run and have not been asked to end, nor are frozen."""
        gone = self._leaving | self._frozen.keys()
        return [member for member in self.fleet.alive if member.name not in gone]

    def crashed(self) -> list[str]:
        """Members that ended though nobody killed them, or not as asked.

        One that finds no broker when it starts says so and ends: that is for its supervisor, and no crash.
        """
        killed = {each.member for each in self.log if each.kind == "kill"}
        if any(each.kind == "outage" for each in self.log):
            killed |= {member.name for member in self.fleet.members} - {
                path.stem for path in self.fleet.folder.glob("*.ledger")
            }
        return [
            member.name
            for member in self.fleet.members
            if member.name not in killed and member.process.poll() not in (None, *_AS_ASKED)
        ]

    def _pass_time(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for name, (thaws_at, disturbance) in list(self._frozen.items()):
                if thaws_at <= now:
                    next(member for member in self.fleet.members if member.name == name).thaw()
                    disturbance.until = time.monotonic_ns()
                    del self._frozen[name]
            if now >= end:
                return
            time.sleep(min(_LOOK_EVERY, end - now))

    def _choose(self, step: Step, watch: Watch) -> Member:
        """The member of the step's rank, once it is at work: a fault that hits an idle one shows nothing."""
        began = time.monotonic()
        since: dict[str, float] = {}
        while True:
            watch.look()
            now = time.monotonic()
            staying, waited = self.staying, now - began
            since = {each.name: since.get(each.name, now) for each in staying if watch.in_flight(each.name)}
            busy = [each for each in staying if each.name in since and now - since[each.name] >= self.steady]
            # Better all, so that the seed alone chooses; but the others' work shall not end while one starts.
            if staying and (len(busy) == len(staying) or (busy and waited > 5) or waited > self.patience):
                among = busy or staying
                return among[int(step.rank * len(among))]
            assert waited < 60, f"no member is left of {len(self.fleet.members)}:\n{self.fleet.said()[-4000:]}"
            self._pass_time(_LOOK_EVERY)

    def _bring(self, step: Step, member: Member, watch: Watch) -> None:
        kind, count = step.kind, len(self.staying)
        everybody = kind in ("join", "outage")
        in_flight = (
            sum(watch.in_flight(each.name) for each in self.staying) if everybody else watch.in_flight(member.name)
        )
        name = "" if everybody else member.name
        disturbance = Disturbance(kind, name, time.monotonic_ns(), 0, in_flight)
        match kind:
            case "join":
                if count >= self.most:
                    self._end(member)
                    disturbance.member = member.name
                self.fleet.start()
            case "terminate" | "restart":
                self._end(member)
                if kind == "restart" or count <= self.least:
                    self.fleet.start()
            case "kill":
                member.kill()
                if count <= self.least:
                    self.fleet.start()
            case "freeze":
                member.freeze()
                self._frozen[member.name] = (time.monotonic() + step.lasts, disturbance)
            case "outage":
                assert self.server is not None, "there is no server to kill"
                with self.outage:
                    disturbance.at = time.monotonic_ns()
                    self.server.kill()
                    self._pass_time(step.lasts)
                    self.server.start()
                    self.server.wait_until_ready()
        disturbance.until = time.monotonic_ns()
        self.log.append(disturbance)

    def _end(self, member: Member) -> None:
        member.terminate()
        self._leaving.add(member.name)
