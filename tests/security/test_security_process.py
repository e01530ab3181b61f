"""A function that harms its machine, in a process of its own: the dispatcher survives, and cleans up behind it.

Memory, CPU time, exits, crashes, open files, broken frames and floods of logs: tests/invokers/test_process_faults.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

APP = """
import json, os, signal, threading, time
from bindings import Retry, on_stream

@on_stream("orders", retry=Retry(max_attempts=1))
def handle(event: dict) -> None:
    match event.get("do"):
        case "fork":
            for _ in range(5):  # 2 ** 5 processes
                os.fork()
            time.sleep(600)
        case "threads":
            for _ in range(300):
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            time.sleep(600)
        case "kill the group":
            os.kill(0, signal.SIGKILL)
        case "kill the parent's group":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(os.getpgid(0), signal.SIGTERM)
            raise RuntimeError("still here")
        case "close everything":
            os.closerange(0, 1024)
        case "write":
            with open("big", "wb") as file:
                while True:
                    file.write(bytes(1 << 20))
    with open("handled", "a") as file:
        file.write(json.dumps(event) + "\\n")
"""


def left_over(folder: Path) -> list[str]:
    """The processes that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and (process / "stat").read_text().rpartition(")")[2].split()[
                0
            ] != "Z":
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("do", ["fork", "threads", "kill the group", "kill the parent's group", "close everything"])
def test_it_is_one_failed_attempt_and_nothing_is_left_of_it(dispatch: Any, do: str) -> None:
    """Forks of forks, hundreds of threads, signals to whom it can reach, and a line that it closes: the events before and
    after it are handled, it is a dead letter, and when the run has ended no process of it is left."""
    dispatch.write("app.py", APP)
    limits = "target = { type = 'process', processes = 1, memory = '256MB' }\ntimeout = 2\n"
    dispatch.write("dispatch.toml", f"[functions.handle]\n{limits}")
    dispatch("send", "orders", "-", stdin=f'{{"n": 1}}\n{{"do": "{do}"}}\n{{"n": 2}}\n')
    run = dispatch("run", "app.py", "--until-caught-up", "-o", "json")
    assert run.code == 1, run.stderr
    [counts] = run.json["functions"]
    assert (counts["done"], counts["dead_lettered"]) == (2, 1), run.stderr
    handled = (dispatch.folder / "handled").read_text().splitlines()
    assert sorted(line for line in handled if "n" in json.loads(line)) == ['{"n": 1}', '{"n": 2}']
    give_up = time.monotonic() + 5  # those that were killed: the system takes its moment for so many
    while (left := left_over(dispatch.folder)) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert left == []


def test_a_writer_to_the_disk_meets_the_limit_that_the_dispatcher_was_given(dispatch: Any) -> None:
    """A limit on files that a deployer sets around the dispatcher (``ulimit -f``, systemd's LimitFSIZE=) is its functions'
    too: a function that writes without end fails with the system's error, and the log that the dispatcher writes goes on."""
    dispatch.write("app.py", APP)
    dispatch.write("dispatch.toml", '[functions.handle]\ntarget = "process"\n')
    dispatch("send", "orders", "-", stdin='{"do": "write"}\n{"n": 2}\n')

    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, before[1]))
    try:
        run = dispatch("run", "app.py", "--until-caught-up", "-o", "json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    [counts] = run.json["functions"]
    assert (counts["done"], counts["dead_lettered"]) == (1, 1), run.stderr
    assert os.path.getsize(dispatch.folder / "big") <= 64 << 20  # noqa: PTH202 - as the system says it
    [letter] = dispatch("dlq", "list", "handle", "app.py", "--json").json
    assert "File too large" in letter["error_message"]
