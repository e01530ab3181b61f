"""``dispatch run --workers N`` and ``--reload``, typed for real on the embedded log."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

#: Writes down each event with who handled it.
LEDGER = """
import asyncio, os
from bindings import on_stream

@on_stream("orders", concurrency=4)
async def handle(order: dict) -> None:
    await asyncio.sleep(0.002)
    with open("handled", "a") as file:
        file.write(f"{order['id']} {os.getpid()} VERSION\\n")
"""


def orders(numbers: range) -> str:
    """JSON lines with these ids."""
    return "".join(json.dumps({"id": number}) + "\n" for number in numbers)


def ledger(folder: Path) -> list[tuple[int, int, str]]:
    """What was written down: id, process, version."""
    path = folder / "handled"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), int(process), version) for number, process, version in map(str.split, lines)]


def test_workers_share_the_partitions_and_end_when_all_is_done(dispatch: Any) -> None:
    """Two processes in one group handle each event once between them; with --until-caught-up all end, with 0."""
    dispatch.write("app.py", LEDGER)
    dispatch("send", "orders", "-", "--key", "id", "--partitions", "8", stdin=orders(range(3_000)))
    done = dispatch("run", "app.py", "--workers", "2", "--until-caught-up")
    assert done.code == 0, done.stderr
    handled = ledger(dispatch.folder)
    assert sorted(number for number, _, _ in handled) == list(range(3_000))
    assert len({process for _, process, _ in handled}) == 2
    assert "worker 1 | " in done.stderr
    assert "worker 2 | " in done.stderr


def test_a_killed_worker_is_replaced_and_nothing_is_lost(dispatch: Any) -> None:
    """After kill -9 of one of two, a third takes over: every event is handled, and Ctrl-C ends all in good order."""
    dispatch.write("app.py", LEDGER)
    dispatch("send", "orders", "-", "--key", "id", "--partitions", "8", stdin=orders(range(3_000)))
    run = dispatch.start("run", "app.py", "--workers", "2")
    run.until(lambda: len({process for _, process, _ in ledger(dispatch.folder)}) == 2, "work of both")
    os.kill(ledger(dispatch.folder)[-1][1], signal.SIGKILL)
    run.until(lambda: run.said(r"worker \d has ended \(killed by SIGKILL\); another starts"), "the replacement")
    run.until(lambda: {number for number, _, _ in ledger(dispatch.folder)} == set(range(3_000)), "the rest", 40)
    run.interrupt()
    assert run.end().code == 130
    pids = {process for _, process, _ in ledger(dispatch.folder)}
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_saved_code_goes_on_at_the_committed_offset(dispatch: Any) -> None:
    """Edit while it runs: what is in flight is finished, the new code takes over, and no event is handled twice.

    A file that does not import in between is shown, and the code from before goes on.
    """
    dispatch.write("app.py", LEDGER)
    dispatch("send", "orders", "-", "--key", "id", "--partitions", "4", stdin=orders(range(1_500)))
    run = dispatch.start("run", "app.py", "--reload")
    run.until(lambda: len(ledger(dispatch.folder)) > 20, "the first events")
    dispatch.write("app.py", "def broken(:\n")
    run.until(lambda: run.said("the code from before goes on"), "the error")
    assert run.said("app.py:1: SyntaxError")
    dispatch.write("app.py", LEDGER.replace("VERSION", "NEW"))
    run.until(lambda: run.said("the code has changed"), "the reload")
    dispatch("send", "orders", "-", "--key", "id", stdin=orders(range(1_500, 1_600)))
    run.until(lambda: len(ledger(dispatch.folder)) >= 1_600, "the rest", 40)
    run.interrupt()
    assert run.end().code == 130
    handled = ledger(dispatch.folder)
    assert sorted(number for number, _, _ in handled) == list(range(1_600))
    assert {version for number, _, version in handled if number >= 1_500} == {"NEW"}
    assert {version for _, _, version in handled} == {"VERSION", "NEW"}
