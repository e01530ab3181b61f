"""What a real worker tells a scraper, beside what its functions wrote down themselves."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from command_line import Dispatch
from kafka_server import KafkaCluster
from scraping import Watched, ledger, lines_of

from dispatcher.telemetry.catalogue import METRICS

#: Writes down each call: its event, and how it ends.
LEDGER = """
import asyncio, json, os
from bindings import Reject, Retry, on_stream

def note(*row):
    with open("ledger", "a") as file:
        file.write(json.dumps(row) + "\\n")

seen = set()

@on_stream("STREAM", where="value.id >= 10", emits="STREAM.big", concurrency=8,
           retry=Retry(max_attempts=3, initial=0.01, max_delay=0.05))
async def handle(order: dict) -> dict | None:
    await asyncio.sleep(0.03 if order["id"] % 10 == 0 else 0)
    if order["id"] % 50 == 7:
        note("handle", order["id"], "rejected")
        raise Reject("never")
    if order["id"] % 50 == 8:
        note("handle", order["id"], "attempts")
        raise ValueError("always")
    if order["id"] % 50 == 9 and order["id"] not in seen:
        seen.add(order["id"])
        note("handle", order["id"], "retried")
        raise ValueError("once")
    note("handle", order["id"], "done")
    return {"id": order["id"]} if order["id"] % 4 == 0 else None

@on_stream("STREAM")
def gather(orders: list[dict]) -> None:
    note("gather", len(orders), "done")
"""

both = pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])


@pytest.fixture
def system(kind: str, dispatch: Dispatch, request: pytest.FixtureRequest) -> str:
    """Where the streams are."""
    if kind == "kafka":
        dispatch.environ["DISPATCH_BROKER"] = f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    dispatch.environ["DISPATCH_APP"] = f"app-{uuid.uuid4().hex[:8]}"
    return kind


@both
def test_the_figures_are_those_of_the_ledger(dispatch: Dispatch, watched: Watched, system: str) -> None:
    """Each count that is scraped is what the functions themselves wrote down and what the broker holds: events, calls, failures,
    retries, results, dead letters by reason and depth, batches; and at the end nothing is left and all of it is known."""
    stream = f"orders-{uuid.uuid4().hex[:8]}"
    dispatch.write("app.py", LEDGER.replace("STREAM", stream))
    sent = dispatch(
        "send",
        stream,
        "-",
        "--key",
        "id",
        "--partitions",
        "3",
        "--create",
        stdin=lines_of({"id": n} for n in range(300)),
    )
    assert sent.code == 0, sent.stderr
    run = watched("app.py")
    got = run.until(
        lambda s: s.all("dispatch_backlog_events") and s.sum("dispatch_backlog_events") + s.sum("dispatch_lag_events") == 0
        and s.sum("dispatch_processed_events_total") == 600 and s.all("dispatch_lag_known") == [1, 1],
        "the end of the work",
    )  # fmt: skip
    rows = ledger(dispatch.folder)
    ends = {
        end: sum(row[0] == "handle" and row[2] == end for row in rows)
        for end in ("done", "rejected", "attempts", "retried")
    }
    calls = sum(row[0] == "handle" for row in rows)
    assert ends["rejected"] == 6 - 1  # one of them is filtered
    assert ends["attempts"] == 3 * (6 - 1)
    assert ends["retried"] == 6 - 1
    handle = {"function": "handle"}
    assert got.one("messaging_client_consumed_messages_total", messaging_system=system, **handle) == 300
    outcomes = {o: got.one("dispatch_processed_events_total", outcome=o, **handle) for o in ("done", "filtered", "dead_lettered", "dropped", "retry_topic")}  # fmt: skip
    assert outcomes == {"done": ends["done"], "filtered": 10, "dead_lettered": 10, "dropped": 0, "retry_topic": 0}
    assert got.one("messaging_process_duration_seconds_count", **handle) == calls
    assert got.one("messaging_process_duration_seconds_bucket", le="0.025", **handle) <= calls - 29
    assert 29 * 0.03 <= got.one("messaging_process_duration_seconds_sum", **handle) < 60
    assert got.one("faas_invocations_total", **handle) == ends["done"]
    assert got.one("faas_errors_total", **handle) == calls - ends["done"]
    assert got.one("dispatch_retries_total", **handle) == ends["retried"] + 2 * ends["attempts"] / 3
    reasons = {
        r: got.one("dispatch_dead_letters_total", reason=r, **handle) for r in ("rejected", "attempts", "expired")
    }
    assert reasons == {"rejected": 5, "attempts": 5, "expired": 0}
    assert got.one("messaging_client_sent_messages_total", kind="dead_letter", **handle) == 10
    results = [row for row in rows if row[0] == "handle" and row[2] == "done" and row[1] % 4 == 0]
    assert got.one("messaging_client_sent_messages_total", kind="result", **handle) == len(results)
    batches = [row[1] for row in rows if row[0] == "gather"]
    gather = {"function": "gather"}
    assert got.one("dispatch_batch_size_events_count", **gather) == len(batches)
    assert got.one("dispatch_batch_size_events_sum", **gather) == sum(batches) == 300
    assert got.all("dispatch_batch_size_events_count", **handle) == []
    assert got.sum("dispatch_lag_seconds") == got.sum("dispatch_in_flight_invocations") == 0
    assert got.one("dispatch_partitions", **handle) == 3
    assert got.one("dispatch_worker_state", state="running", **handle) == 1
    assert got.one("dispatch_breaker_state", state="closed", **handle) == 1
    assert got.one("dispatch_event_loop_lag_seconds") < 5


@both
def test_lag_grows_while_nothing_moves(dispatch: Dispatch, watched: Watched, system: str) -> None:
    """A function that completes nothing has a lag in seconds that grows as the clock does, and one in events that grows with what
    is written; the events in its hands are told, and what it has not fetched counts too."""
    stream = f"orders-{uuid.uuid4().hex[:8]}"
    dispatch.write(
        "app.py",
        f"""
import asyncio
from bindings import Limits, on_stream

@on_stream("{stream}", concurrency=2, limits=Limits(held_events=4))
async def wait(order: dict) -> None:
    await asyncio.sleep(50)
""",
    )
    dispatch("send", stream, "-", "--partitions", "1", "--create", stdin=lines_of({"id": n} for n in range(10)))
    run = watched("app.py")
    # The log's end is known before the first event is in its hands.
    first = run.until(
        lambda s: s.all("dispatch_backlog_events") == [10.0] and s.all("dispatch_in_flight_invocations") == [2.0]
        and s.all("dispatch_waiting_events") == [8.0],
        "the backlog, two of it in flight",
    )  # fmt: skip
    began = time.monotonic()
    assert first.one("dispatch_lag_events") == 10
    dispatch("send", stream, "-", stdin=lines_of({"id": n} for n in range(5)))
    later = run.until(lambda s: s.one("dispatch_backlog_events") == 15, "what was written later")
    passed = time.monotonic() - began
    for name in ("dispatch_lag_seconds", "dispatch_oldest_incomplete_age_seconds"):
        assert later.one(name) - first.one(name) == pytest.approx(passed, abs=1.0), name
    assert later.one("dispatch_lag_events") == 15
    assert later.one("messaging_client_consumed_messages_total") == first.one(
        "messaging_client_consumed_messages_total"
    )


def test_what_is_done_beyond_the_commit_is_no_backlog(dispatch: Dispatch, watched: Watched) -> None:
    """With one event stuck at the front and all behind it done, the lag by commits is all of them, the true backlog one; a
    successor that has read the map tells the same, before it has fetched what was done."""
    dispatch.write("app.py", """
import asyncio
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    if order["id"] == 0:
        await asyncio.sleep(50)
""")  # fmt: skip
    dispatch(
        "send",
        "orders",
        "-",
        "--key",
        "id",
        "--partitions",
        "1",
        "--create",
        stdin=lines_of({"id": n} for n in range(200)),
    )
    run = watched("app.py", drain="0.1")
    got = run.until(lambda s: s.all("dispatch_backlog_events") == [1.0], "a backlog of one")
    assert got.one("dispatch_lag_events") == 200
    got = run.until(lambda s: s.one("dispatch_offset_map_use_ratio") > 0, "the map in a commit")
    assert got.one("dispatch_offset_map_use_ratio") < 0.05
    run.running.interrupt()
    run.running.end()
    again = watched("app.py")
    got = again.until(lambda s: s.all("dispatch_backlog_events") == [1.0], "the same of the successor")
    assert got.one("dispatch_lag_events") == 200
    assert got.one("messaging_client_consumed_messages_total") <= 1


@pytest.mark.kafka
def test_what_can_not_be_read_is_unknown_and_not_0(dispatch: Dispatch, watched: Watched, tmp_path: Any) -> None:
    """While the broker answers nothing, lag, backlog and age are absent and ``dispatch_lag_known`` is 0; what the process knows
    by itself is told on; the process is alive, since a restart would not help; and when the broker is back, all is known again."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    with KafkaCluster(folder) as cluster:
        dispatch.environ["DISPATCH_BROKER"] = f"kafka://{cluster.bootstrap()}"
        dispatch.write("app.py", """
import asyncio
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    await asyncio.sleep(0 if order["id"] < 5 else 300)
""")  # fmt: skip
        dispatch(
            "send",
            "orders",
            "-",
            "--key",
            "id",
            "--partitions",
            "2",
            "--create",
            stdin=lines_of({"id": n} for n in range(10)),
        )
        run = watched("app.py", liveness_grace="5")
        run.until(
            lambda s: s.sum("dispatch_backlog_events") == 5 if s.all("dispatch_backlog_events") else False,
            "the backlog",
        )
        cluster.nodes[0].freeze()
        try:
            got = run.until(lambda s: s.one("dispatch_lag_known") == 0, "the lag to be unknown", 60)
            for name in ("dispatch_lag_events", "dispatch_backlog_events", "dispatch_lag_seconds"):
                assert got.all(name) == [], name
            assert got.one("dispatch_processed_events_total", outcome="done") == 5
            assert run.get("/livez").status == 200
        finally:
            cluster.nodes[0].thaw()
        run.until(
            lambda s: s.one("dispatch_lag_known") == 1 and s.all("dispatch_backlog_events") and s.sum("dispatch_backlog_events") == 5,
            "all to be known again", 60,
        )  # fmt: skip
        run.running.process.kill()


def test_rebalances_are_counted_with_the_time_they_take(dispatch: Dispatch, watched: Watched) -> None:
    """A second member makes the first one's partitions go and come: one rebalance, and the time of it, which its drain prolongs."""
    dispatch.write("app.py", """
import asyncio
from bindings import on_stream

@on_stream("orders", concurrency=1)
async def handle(order: dict) -> None:
    await asyncio.sleep(1.0)
""")  # fmt: skip
    dispatch(
        "send",
        "orders",
        "-",
        "--key",
        "id",
        "--partitions",
        "2",
        "--create",
        stdin=lines_of({"id": n} for n in range(100)),
    )
    first = watched("app.py")
    first.until(lambda s: s.one("dispatch_in_flight_invocations") == 1, "work")
    assert first.scrape().one("dispatch_rebalances_total") == 0
    second = watched("app.py")
    second.until(lambda s: s.one("dispatch_partitions") == 1, "its share")
    got = first.until(lambda s: s.one("dispatch_partitions") == 1, "the other share")
    assert got.one("dispatch_rebalances_total") == 1
    assert 0 < got.one("dispatch_rebalance_dwell_seconds_total") < 20
    assert second.scrape().one("dispatch_rebalances_total") == 0


def test_every_metric_is_in_the_catalogue_and_every_one_is_there(dispatch: Dispatch, watched: Watched) -> None:
    """What is scraped and what the catalogue promises are the same names, types and labels, but for what the operating system
    tells of the process; in OpenMetrics too, when the scraper asks for it."""
    dispatch.write(
        "app.py",
        """
from bindings import on_stream

@on_stream("orders")
def handle(orders: list[dict]) -> None: ...
""",
    )
    dispatch("send", "orders", "-", stdin=lines_of([{"id": 1}]))
    run = watched("app.py")
    got = run.until(
        lambda s: s.all("dispatch_lag_events") and s.all("dispatch_dead_letter_depth_events"), "all that is read later"
    )
    found: dict[str, set[str]] = {}
    for sample in got.samples:
        name = sample.name
        for suffix in ("_bucket", "_sum", "_count"):
            base = name.removesuffix(suffix)
            name = base if base in METRICS and METRICS[base].kind == "histogram" else name
        found.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    own = {name: labels for name, labels in found.items() if not name.startswith("process_")}
    assert own == {name: set(metric.labels) for name, metric in METRICS.items()}
    assert "process_resident_memory_bytes" in found
    text = run.get("/metrics").text
    for metric in METRICS.values():
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
    openmetrics = run.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_a_paused_function_says_so(dispatch: Dispatch, watched: Watched) -> None:
    """Under Retry(then="pause") a function that has paused itself is told as paused, its lag grows, and it is alive: a restart
    would change nothing."""
    dispatch.write("app.py", """
from bindings import Retry, on_stream

@on_stream("orders", retry=Retry(max_attempts=1, then="pause"))
async def handle(order: dict) -> None:
    raise ValueError("no")
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin=lines_of({"id": n} for n in range(3)))
    run = watched("app.py", liveness_grace="0.5")
    got = run.until(lambda s: s.one("dispatch_paused") == 1 and s.all("dispatch_lag_seconds"), "the pause")
    age = got.sum("dispatch_lag_seconds")
    later = run.until(lambda s: s.sum("dispatch_lag_seconds") > age + 2, "its lag to grow")
    assert later.one("dispatch_no_progress_seconds") == 0
    assert run.get("/livez").status == 200
    assert "[+]handle: paused" in run.get("/livez?verbose").text
    assert "[+]handle: paused\n" in run.get("/readyz?verbose").text
