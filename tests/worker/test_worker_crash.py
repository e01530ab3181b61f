"""A worker that is killed, and the one that comes after it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from bench import Bench, header, on_both, until
from crashing import MAX_ATTEMPTS

from dispatcher.core.offsets import decode_metadata
from dispatcher.core.record import Committed, TopicPartition

HERE = Path(__file__).parent
EVENTS = 3_000


async def start(url: str, stream: str, app: str, journal: Path, mode: str) -> asyncio.subprocess.Process:
    """Start a worker in another process."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "crashing.py"),
        url,
        stream,
        app,
        str(journal),
        mode,
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )


class Journal:
    """What a run has written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, kind: str) -> list[tuple[int, int]]:
        """(event, attempt) of each complete line of a kind."""
        if not self.path.exists():
            return []
        lines = [line.split() for line in self.path.read_text().split("\n")[:-1]]
        return [(int(number), int(attempt)) for each, number, attempt in lines if each == kind]

    def handled(self) -> list[int]:
        """The events that were handled."""
        return [number for number, _ in self.lines("done")]

    def stuck(self) -> list[int]:
        """The attempts of the event that always fails."""
        return [attempt for number, attempt in self.lines("start") if number == 0]


@on_both
async def test_after_a_kill_only_what_no_commit_covers_runs_again(bench: Bench, url: str, tmp_path: Path) -> None:
    """Kill -9 in the middle of a run, with an event at the head of the partition that fails each time: the next run handles
    all that was left, hands over twice only what the last commit did not cover, and goes on counting the attempts of the
    stuck one where the commit stood, to the end of its budget."""
    stream = await bench.stream()
    await bench.send(stream, ((b"%d" % number, b"%d" % number) for number in range(EVENTS)))
    before, after = Journal(tmp_path / "before"), Journal(tmp_path / "after")
    id_ = TopicPartition(stream, 0)
    group = f"{bench.app}.handle"

    process = await start(url, stream, bench.app, before.path, "run")
    try:
        commit: Committed | None = None
        await until(lambda: len(before.stuck()) >= 3 and len(before.handled()) > EVENTS // 4, "some work to be done")
        process.send_signal(signal.SIGKILL)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    handled = before.handled()
    assert len(handled) < EVENTS - 1, "all was done before the kill: it proves nothing"
    commit = (await bench.broker.committed(group, [id_]))[id_]
    assert commit is not None
    assert commit.offset == 0, "the stuck event holds the position"
    offsets = decode_metadata(commit.offset, commit.metadata)
    covered = {each for first, stop in offsets.done for each in range(first, stop)}
    attempts = offsets.attempts.get(0, 0)

    process = await start(url, stream, bench.app, after.path, "catch-up")
    async with asyncio.timeout(60):
        assert await process.wait() == 0

    assert covered
    assert covered <= set(handled)
    again = after.handled()
    assert set(handled) | set(again) == set(range(1, EVENTS))
    assert not set(again) & covered
    assert max(Counter(again).values()) == 1
    # A tenth of a second lies between two commits.
    assert len(set(handled) - covered) < len(handled)
    assert 0 < attempts <= len(before.stuck())
    assert before.stuck() == list(range(1, len(before.stuck()) + 1))
    assert after.stuck() == list(range(attempts + 1, MAX_ATTEMPTS + 1))
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert header(letter, "dispatch-dead-attempts") == b"%d" % MAX_ATTEMPTS
    commit = (await bench.broker.committed(group, [id_]))[id_]
    assert commit is not None
    assert commit.offset == EVENTS
