"""/livez and /readyz of a real process: red for what a restart would help, and for nothing else."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from typing import Any

import pytest
from command_line import Dispatch
from scraping import Watched, get, ledger, lines_of, soon

from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Committed, TopicPartition


def test_a_worker_that_holds_work_and_completes_nothing_is_not_alive(dispatch: Dispatch, watched: Watched) -> None:
    """A function whose threads are all stuck has a pulse: it polls, it commits, its loop turns. /livez is green while the calls
    may still end, and red once they are past their time-out and the grace; it says which function and for how long."""
    dispatch.write("app.py", """
import time
from bindings import Retry, on_stream

@on_stream("orders", concurrency=2, timeout=0.5, retry=Retry(max_attempts=100, initial=0.01))
def handle(order: dict) -> None:
    time.sleep(3600)

@on_stream("orders")
async def other(order: dict) -> None: ...
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of({"id": n} for n in range(5)))
    run = watched("app.py", liveness_grace="2")
    run.until(lambda s: s.one("dispatch_in_flight_invocations", function="handle") == 2, "stuck calls")
    began = time.monotonic()
    assert run.get("/livez").status == 200
    soon(lambda: run.get("/livez").status == 503, "the end of its life")
    assert time.monotonic() - began > 1.0
    said = run.get("/livez").text
    assert re.fullmatch(r"\[-\]handle: 2 in flight, and nothing completed for \d+ s\nlivez failed\n", said), said
    verbose = run.get("/livez?verbose").text
    assert "[+]other: running, 0 in flight, 5 ended\n" in verbose
    assert verbose.startswith("[+]event loop: ")
    got = run.scrape()
    assert got.one("dispatch_no_progress_seconds", function="handle") > 2.5
    assert got.one("dispatch_no_progress_seconds", function="other") == 0
    run.running.process.kill()


def test_a_slow_function_is_alive(dispatch: Dispatch, watched: Watched) -> None:
    """A call that takes many times the grace, within its time-out, is work: /livez stays green through it."""
    dispatch.write("app.py", """
import asyncio
from bindings import on_stream

@on_stream("orders", timeout=30)
async def handle(order: dict) -> None:
    await asyncio.sleep(4)
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}]))
    run = watched("app.py", liveness_grace="0.5")
    run.until(lambda s: s.one("dispatch_no_progress_seconds") > 2, "a long call")
    answers = set()
    while run.scrape().one("dispatch_in_flight_invocations"):
        answers.add(run.get("/livez").status)
    assert answers == {200}


@pytest.mark.blocks_the_loop
def test_a_blocked_loop_is_seen_as_not_alive(dispatch: Dispatch, watched: Watched) -> None:
    """While a function blocks the event loop, /livez answers at once, and red once that is longer than the grace; /metrics tells how
    long, and of the functions nothing rather than what was; afterwards all is green and known."""
    dispatch.write("app.py", """
import time
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    if order["id"] == 1:
        time.sleep(7)
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}, {"id": 2}]))
    run = watched("app.py", liveness_grace="1.5")
    soon(lambda: run.get("/livez", seconds=1.0).status == 503, "a red probe")
    said = run.get("/livez", seconds=1.0).text
    assert re.match(r"\[-\]event loop: blocked for \d+ s\n", said), said
    assert run.get("/readyz", seconds=1.0).status == 503
    got = run.scrape()
    assert got.one("dispatch_functions_known") == 0
    assert got.one("dispatch_event_loop_lag_seconds") > 1.5
    assert got.all("messaging_client_consumed_messages_total") == []
    soon(lambda: run.get("/livez").status == 200, "the end of it")
    got = run.until(lambda s: s.one("dispatch_functions_known") == 1, "what is known")
    got = run.until(lambda s: s.one("dispatch_processed_events_total", outcome="done") == 2, "its work")
    assert got.one("dispatch_event_loop_lag_seconds") > 4, "the scrape after it sees how long it was"


def test_a_worker_that_drains_is_alive_and_not_ready(dispatch: Dispatch, watched: Watched) -> None:
    """Ready while it is in its group; from SIGTERM on, while the last call ends, it is alive and not ready; then it ends with 143."""
    dispatch.write("app.py", """
import asyncio, json
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    await asyncio.sleep(5)
    with open("ledger", "a") as file:
        file.write(json.dumps(order["id"]) + "\\n")
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}]))
    run = watched("app.py")
    run.until(lambda s: s.one("dispatch_in_flight_invocations") == 1, "a call")
    soon(lambda: run.get("/readyz").status == 200, "readiness")
    assert run.get("/readyz?verbose").text.splitlines()[1:] == ["[+]handle: running", "readyz ok"]
    run.running.process.terminate()
    soon(lambda: run.get("/readyz").status == 503, "the drain")
    assert run.get("/readyz").text == "[-]handle: finishes what is in flight\nreadyz failed\n"
    assert run.get("/livez").status == 200
    assert run.running.end().code == 143
    assert ledger(dispatch.folder) == [1]


def test_a_function_that_has_failed_for_good_is_not_ready(dispatch: Dispatch, watched: Watched) -> None:
    """One function that can't go on leaves the others alive, and the process not ready: which one, is said."""
    dispatch.write("app.py", """
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None: ...

@on_stream("payments")
async def pay(payment: dict) -> None: ...
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}]))
    dispatch("send", "payments", "-", stdin=lines_of([{"id": 1}]))
    dispatch("run", "app.py", "--until-caught-up")
    # What another program wrote there is refused, by setting: one function stops, the other goes on.
    spoil(dispatch, "shop.pay")
    run = watched("app.py", on_foreign_metadata="refuse")
    soon(lambda: "[-]pay: has stopped\n" in run.get("/readyz").text, "the stop")
    assert run.get("/readyz").status == 503
    assert run.get("/livez").status == 200
    got = run.scrape()
    assert got.one("dispatch_worker_state", function="pay", state="stopped") == 1
    assert got.one("dispatch_worker_state", function="handle", state="running") == 1


def spoil(dispatch: Dispatch, group: str) -> None:
    """Commit for a group as another program does, with metadata of its own."""

    async def commit() -> None:
        async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
            await broker.set_offsets(group, {TopicPartition("payments", 0): Committed(1, "another's")})

    asyncio.run(commit())


def test_nothing_listens_unless_it_is_asked_for(dispatch: Dispatch) -> None:
    """Without the setting there is no endpoint, and no thread of one."""
    dispatch.write("app.py", """
import threading
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    print(sorted(thread.name for thread in threading.enumerate()))
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}]))
    done = dispatch("run", "app.py", "--until-caught-up")
    assert "monitoring" not in done.stdout + done.stderr
    assert "loop-watchdog" in done.stdout


def test_a_port_alone_is_of_this_machine_alone(dispatch: Dispatch, watched: Watched) -> None:
    """With a port and no host, only the loopback address is listened at: another address of this machine gets no answer."""
    dispatch.write(
        "app.py", "from bindings import on_stream\n@on_stream('orders')\ndef handle(order: dict) -> None: ...\n"
    )
    dispatch("streams", "create", "orders")
    run = watched("app.py")
    assert run.get("/livez").status == 200
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", run.port))


def test_a_port_that_is_taken_is_a_message(dispatch: Dispatch) -> None:
    """Nothing is delivered by a process that can't be watched as it was told to be: it ends with 1, and says why."""
    dispatch.write(
        "app.py", "from bindings import on_stream\n@on_stream('orders')\ndef handle(order: dict) -> None: ...\n"
    )
    dispatch("streams", "create", "orders")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_MONITORING=str(port))
    assert done.code == 1
    assert f"127.0.0.1:{port} can't be listened at" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_of_several_workers_has_a_port_of_its_own(dispatch: Dispatch) -> None:
    """``--workers 2``: the first is watched at the port of the setting, the second at the next one; a process that replaces a killed
    one is watched where that was."""
    dispatch.write("app.py", """
import asyncio
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    await asyncio.sleep(0.01)
""")  # fmt: skip
    dispatch("send", "orders", "-", "--key", "id", "--partitions", "4", stdin=lines_of({"id": n} for n in range(100)))
    port = free_pair()
    dispatch.environ["DISPATCH_MONITORING"] = str(port)
    run = dispatch.start("run", "app.py", "--workers", "2")

    def held(port: int) -> Any:
        try:
            found = re.search(r"dispatch_partitions\{.*\} ([\d.]+)", get(port, "/metrics").text)
        except OSError:
            return None
        return None if found is None else float(found[1])

    run.until(lambda: held(port) == held(port + 1) == 2, "both with their share", 30)
    run.interrupt()
    assert run.end().code == 130


def free_pair() -> int:
    """A port that is free, with the next one. Below those that a connection takes for itself: who knocks at one of these
    before somebody listens there may be answered by itself."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as one, socket.socket() as next_one:
            try:
                one.bind(("127.0.0.1", port))
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
