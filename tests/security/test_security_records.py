"""Hostile events are each their own failure: the partition goes on, and what is shown of them is one line of plain text."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from bindings import Event, Reject, Retry, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.cli.output import fail
from dispatcher.core.record import Outgoing
from dispatcher.filters import Filter
from dispatcher.telemetry.lines import JSONFormatter, TextFormatter
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.report import Report
from tests.worker.bench import Bench, reason


class Model(BaseModel):
    total: float


class Typed(TypedDict):
    total: float


@dataclasses.dataclass
class Data:
    total: float


class Struct(msgspec.Struct):
    total: float


SHAPES = [dict, Model, Typed, Data, Struct]
GOOD = b'{"total": 5.0}'
NO_JSON = {
    "arrays": b'{"total": 5.0, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "objects": b'{"":' * 200_000 + b"1" + b"}" * 200_000,
    "open": b"[" * 200_000,
    "nan": b'{"total": NaN}',
    "infinity": b'{"total": -Infinity}',
    "surrogates": b'{"total": 5.0, "x": "\xed\xa0\x80"}',
    "utf-16": '{"total": 5.0}'.encode("utf-16"),
    "digits": b'{"total": ' + b"9" * 20_000 + b"x}",
    "nul": b'{"total": 5.0}\x00',
}


#: A pydantic model says itself whether it takes NaN, and msgspec passes over fields that a struct has not: without a filter,
#: these are events like others.
TAKEN = {(Model, "nan"), (Model, "infinity"), (Struct, "surrogates")}


@pytest.mark.parametrize("where", [None, "value.total > 1.0"], ids=["decoded", "filtered"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
async def test_what_is_no_json_is_one_events_failure(bench: Bench, shape: type, where: str | None) -> None:
    """200,000 nested brackets, NaN, half a surrogate pair and their like are a dead letter each, whatever the function takes
    and whether a filter or the function is first to read them; the good event behind each is handled, in the same lane."""
    stream = await bench.stream()
    await bench.send(stream, [message for bad in NO_JSON.values() for message in ((b"k", bad), (b"k", GOOD))])
    seen = []

    async def handle(event: object) -> None:
        seen.append(event)

    handle.__annotations__["event"] = Event[shape]  # type: ignore[valid-type]
    statistics = await bench.catch_up(on_stream(stream, where=where)(handle))

    bad = [value for name, value in NO_JSON.items() if where is not None or (shape, name) not in TAKEN]
    letters = await bench.read(f"{stream}.handle.dead")
    assert [letter.value for letter in letters] == bad
    assert {reason(letter) for letter in letters} == {"rejected"}
    assert len(seen) == statistics.done == 2 * len(NO_JSON) - len(bad)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
async def test_a_key_that_comes_twice_is_read_in_one_way(bench: Bench, shape: type) -> None:
    """A filter and every kind of function take the last of two: what a filter let pass is what the function sees, so
    nobody gets a total past the one by showing it another."""
    stream = await bench.stream()
    await bench.send(stream, [(None, b'{"total": 1.0, "total": 900.0}'), (None, b'{"total": 900.0, "total": 1.0}')])
    seen = []

    async def handle(value: object) -> None:
        seen.append(value["total"] if isinstance(value, dict) else value.total)  # type: ignore[attr-defined]

    handle.__annotations__["value"] = shape
    statistics = await bench.catch_up(on_stream(stream, where="value.total > 100.0")(handle))
    assert seen == [900.0]
    assert statistics.filtered == 1


async def test_a_lone_surrogate_can_be_emitted_by_nobody(bench: Bench) -> None:
    """An escaped half of a pair is JSON, and no text: a function that sends it on fails for that event alone."""
    stream = await bench.stream()
    await bench.stream("out")
    await bench.send(stream, [(b"k", b'{"name": "\\ud800"}'), (b"k", b'{"name": "good"}')])

    @on_stream(stream, emits=bench.name("out"), retry=Retry(max_attempts=1))
    async def handle(value: dict) -> dict:
        return value

    await bench.catch_up(handle)
    dead = await bench.read(f"{stream}.handle.dead")
    sent = await bench.read(bench.name("out"))
    assert len(dead) + len(sent) == 2
    assert all(
        json.loads(record.value or b"")["name"] == "good" or b"\\ud800" in (record.value or b"") for record in sent
    )


EVIL = "a\r\n12:00:00 ERROR   forged: line\x1b[2J\x1b]0;title\x07\u202e\u2028\x00\x85"
HEADERS = (
    ("Host", b"evil"),
    ("Authorization", b"Bearer evil"),
    ("Content-Length", b"-1"),
    ("Transfer-Encoding", b"chunked"),
    ("x\r\nInjected: yes", b"a\r\nb"),
    ("nul\x00", b"\x00\x00"),
    ("\u00fcn\u00efc\u00f6de\u202e", "\u4e16\u754c".encode()),
    ("", b""),
    ("none", None),
    ("latin", b"\xff\xfe\x80"),
    *((f"h{number % 7}", b"v" * (number % 50)) for number in range(10_000)),
)


@pytest.mark.parametrize("what", ["handled", "rejected", "failed", "retried", "emitted"])
async def test_any_header_comes_and_goes_as_it_was(bench: Bench, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """CR, LF, NUL, no ASCII, no UTF-8, and 10,000 of them: the function sees them as they were, and so does who reads its
    dead letters; the event behind is handled."""
    caplog.set_level("DEBUG")
    stream = await bench.stream()
    await bench.stream("out")
    await bench.send(
        stream,
        [Outgoing(topic=stream, key=b"k", value=b"{}", headers=HEADERS), Outgoing(topic=stream, value=b"{}", key=b"k")],
    )
    seen: list[Event[dict]] = []

    @on_stream(stream, emits=bench.name("out"), retry=Retry(max_attempts=2, initial=0.01))
    async def handle(event: Event[dict]) -> dict | None:
        seen.append(event)
        if event.offset == 0:
            if what == "rejected":
                raise Reject(event.headers[4][0])
            if what == "failed" or (what == "retried" and len(seen) == 1):
                raise RuntimeError(event.headers[4][0])
        return {"ok": True} if what == "emitted" else None

    await bench.catch_up(handle)
    assert seen[0].headers == HEADERS
    assert seen[-1].offset == 1
    letters = await bench.read(f"{stream}.handle.dead")
    assert len(letters) == (what in {"rejected", "failed"})
    for letter in letters:
        assert tuple(pair for pair in letter.headers if not pair[0].startswith("dispatch-dead-")) == HEADERS
    for record in await bench.read(bench.name("out")):
        # What an event carries is not what its result carries.
        assert {name for name, _ in record.headers} == {"dispatch-function", "dispatch-event-id"}


FORGED = {
    "dispatch-retry-due": [b"9" * 400, b"-" + b"9" * 400, b"1e5", b"", None, b"\xff", b"9" * 5_000],
    "dispatch-retry-offset": [b"-1", b"9" * 30, None],
    "dispatch-retry-partition": [b"-5", b"9" * 400],
    "dispatch-retry-timestamp": [b"9" * 400, b"9" * 17],
    "dispatch-retry-attempts": [b"-4", b"9" * 400],
    "dispatch-retry-stream": [b"\xff"],
}


async def test_a_forged_retry_copy_is_one_events_failure(bench: Bench) -> None:
    """Whoever may write to a retry topic can't stop its function: numbers past all bounds and headers that are missing are
    dead letters, and the event behind them is handled."""
    stream = await bench.stream()
    retries = await bench.stream("events.handle.retry")
    honest = {"stream": stream.encode(), **dict.fromkeys(("partition", "offset", "timestamp", "attempts", "due"), b"0")}
    forged = []
    for name, values in FORGED.items():
        for value in values:
            headers = {f"dispatch-retry-{fact}": content for fact, content in honest.items()} | {name: value}
            forged.append(Outgoing(topic=retries, key=b"k", value=GOOD, headers=tuple(headers.items())))
        forged.append(Outgoing(topic=retries, key=b"k", value=GOOD, headers=tuple(headers.items())[:-1]))
    last = tuple((f"dispatch-retry-{fact}", content) for fact, content in honest.items())
    await bench.send(retries, [*forged, Outgoing(topic=retries, key=b"k", value=GOOD, headers=last)])
    seen = []

    @on_stream(stream, order="none")
    async def handle(event: Event[dict]) -> None:
        seen.append((event.stream, event.offset))

    statistics = await bench.catch_up(handle)
    assert (stream, 0) in seen
    assert statistics.dead_lettered + statistics.done == len(forged) + 1
    assert statistics.dead_lettered >= len(forged) - len(FORGED)


async def test_an_events_own_provenance_is_not_believed(bench: Bench, dispatch: Any) -> None:
    """An event that brings the headers of a dead letter is not taken for one: its letter has the true coordinates once, can
    be read, and goes back; numbers that no letter has make it no letter, and no command fails over it."""
    (dispatch.folder / ".dispatch").mkdir()
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        for name in ("orders", "orders.handle.dead"):
            await broker.create_stream(StreamInfo(name=name, partitions=1))
        producer = await broker.producer()
        facts = ("stream", "partition", "offset", "timestamp", "function", "reason", "attempts", "first-failure")
        for lie in (b"7" * 400, b"-3", b"\xff", b"x" * 5):
            headers = tuple((f"dispatch-dead-{fact}", lie) for fact in (*facts, "redrives"))
            await producer.send(Outgoing(topic="orders", key=b"k", value=b"[1]", headers=headers))
            lies = dict.fromkeys(facts, b"1") | {"function": b"handle", "first-failure": lie, "timestamp": lie}
            headers = tuple((f"dispatch-dead-{fact}", value) for fact, value in lies.items())
            await producer.send(Outgoing(topic="orders.handle.dead", key=b"k", value=b"[1]", headers=headers))
        await producer.close()
    dispatch.write("app.py", "from bindings import on_stream\n@on_stream('orders')\ndef handle(e: dict) -> None: ...\n")
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    listed = dispatch("dlq", "list", "handle", "app.py", "--json")
    found = [letter for letter in listed.json if letter["stream"] == "orders"]
    assert [(letter["offset"], letter["redrives"]) for letter in found] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    for letter in listed.json:
        shown = dispatch("dlq", "show", "handle", letter["letter"], "app.py")
        assert shown.code == 0, shown.stderr
    assert dispatch("dlq", "redrive", "handle", "app.py", "--yes", "--json").code in (0, 1)
    assert dispatch("dlq", "list", "handle", "app.py", "--all").code == 0


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_log_line_is_one_line(bench: Bench, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """CR, LF, ANSI and direction marks in keys, header names, values and errors, of events that are rejected, fail, are
    filtered in error and come back from a retry topic: each log call is one line, with nothing in it that acts."""
    caplog.set_level("DEBUG")
    stream = await bench.stream()
    retries = await bench.stream("events.handle.retry")
    evil = Outgoing(topic=stream, key=EVIL.encode(), value=json.dumps({"x": EVIL}).encode(), headers=((EVIL, b"x"),))
    origin = {"stream": EVIL.encode(), **dict.fromkeys(("partition", "offset", "timestamp", "attempts", "due"), b"0")}
    headers = tuple((f"dispatch-retry-{fact}", value) for fact, value in origin.items())
    await bench.send(stream, [evil, Outgoing(topic=stream, value=b'{"y": 1}', key=EVIL.encode())])
    await bench.send(retries, [Outgoing(topic=retries, key=b"k", value=evil.value, headers=headers)])

    @on_stream(stream, order="none", where="value.x != ''", retry=Retry(max_attempts=2, initial=0.01))
    async def handle(event: Event[dict]) -> None:
        raise RuntimeError(f"{event.stream} {event.key!r} {event.value['x']}{EVIL}")

    statistics = await bench.catch_up(handle)
    assert statistics.dead_lettered == 3
    formatter = TextFormatter() if form == "text" else JSONFormatter()
    told = [record for record in caplog.records if record.name.startswith("dispatcher")]
    assert any("forged" in record.getMessage() for record in told)
    for record in told:
        line = formatter.format(record)
        lines = line.split("\n")
        assert all(part.startswith("    ") for part in lines[1:]) if form == "text" else len(lines) == 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", line), line


def test_a_log_field_can_not_pass_for_the_records_own() -> None:
    """What a function gives as ``extra=`` stands beside the time, the level and the logger, and replaces none of them."""
    record = logging.makeLogRecord({"name": "functions.handle", "levelno": 20, "levelname": "INFO", "msg": "hello"})
    record.__dict__ |= {"level": "critical", "time": "1970", "logger": "dispatcher", "order": float("nan")}
    # What structlog goes by.
    record.__dict__ |= {
        "event": "forged",
        "_record": "forged",
        "_from_structlog": True,
        "_logger": "x",
        "_name": "info",
    }
    assert TextFormatter().format(record).endswith(" INFO    functions.handle: hello")
    fields = json.loads(JSONFormatter().format(record), parse_constant=pytest.fail)
    assert (fields["level"], fields["logger"], fields["message"]) == ("info", "functions.handle", "hello")
    assert fields["time"] != "1970"


@pytest.mark.parametrize("timestamp", [10**17, 253_402_300_800_000])
async def test_commands_show_any_event(dispatch: Any, timestamp: int) -> None:
    """Keys, headers and values that would move a cursor, a time past the calendar and 900 nested brackets: each event and
    each dead letter is shown on lines that nothing in them made, as text and as JSON."""
    (dispatch.folder / ".dispatch").mkdir()
    value = b"[" * 900 + b"]" * 900
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        for content in (value, b'{"a": 1e999}', json.dumps(EVIL).encode(), EVIL.encode()):
            record = Outgoing(
                topic="orders", key=EVIL.encode(), value=content, headers=((EVIL, EVIL.encode()),), timestamp=timestamp
            )
            await producer.send(record)
        await producer.close()
    dispatch.write("app.py", "from bindings import on_stream\n@on_stream('orders')\ndef handle(e: dict) -> None: ...\n")
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    tail = dispatch("streams", "tail", "orders")
    assert (tail.code, len(tail.stdout.splitlines())) == (0, 4), tail.stderr
    lines = dispatch("streams", "tail", "orders", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["value_type"] for line in lines] == [
        "text",
        "text",
        "json",
        "text",
    ]
    letters = dispatch("dlq", "list", "handle", "app.py")
    assert len(letters.stdout.splitlines()) == 4
    shown = [dispatch("dlq", "show", "handle", f"0@{number}", "app.py") for number in range(3)]
    for done in (tail, letters, *shown):
        assert done.code == 0, done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", done.stdout)
        assert not any(line.startswith("12:00:00") for line in done.stdout.splitlines())


def test_what_is_said_of_a_paused_function_stays_in_its_line(dispatch: Any) -> None:
    """A function that has paused itself over an event says why, in words that the event chose: neither the table of functions
    nor what ``status`` and ``resume`` say beside theirs has a line that these words made."""
    dispatch.write("app.py", f"""
from bindings import Retry, on_stream

@on_stream("orders", retry=Retry(max_attempts=1, then="pause"))
def handle(e: dict) -> None:
    raise RuntimeError({EVIL!r})
""")  # fmt: skip
    dispatch("send", "orders", "-", stdin='{"n": 1}\n')
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    for words in (
        ("status",),
        ("functions", "list"),
        ("functions", "history", "handle"),
        ("functions", "resume", "handle"),
    ):
        done = dispatch(*words, "app.py")
        assert done.code == 0, done.stderr
        said = done.stdout + done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", said)
        assert not any(line.startswith("12:00:00") for line in said.splitlines()), said


def test_no_line_of_a_failure_passes_for_one_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """The message of a command that fails may have several lines; each behind the first is indented."""
    fail(f"the broker says {EVIL}\n  a detail", "dispatch check")
    first, *more = capsys.readouterr().err.splitlines()
    assert first.startswith("error: the broker says")
    assert len(more) == 3
    assert all(line.startswith("  ") for line in more)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "..", "a/b", "a b", "", "\u202e"])
def test_no_stream_has_a_name_that_acts(dispatch: Any, name: str) -> None:
    """A topic's name is letters, digits, dots, dashes and underscores, so none can forge a line or leave a folder."""
    done = dispatch("streams", "create", name)
    assert done.code != 0
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) < 12


def test_a_filter_says_of_a_hostile_event_only_what_is_wrong() -> None:
    """The error of an event that a filter can't judge names the field, and is cut where the event made it long."""

    class Record:
        topic, partition, offset, timestamp, key, headers = "t", 0, 0, 0, None, ()
        value = b'{"a": ' + b"7" * 4_000 + b"}"

    with pytest.raises(Exception, match="has no answer") as raised:
        Filter("value.a > 1").matches(Record())  # type: ignore[arg-type]
    assert len(str(raised.value)) < 500


def test_the_live_table_has_a_line_a_function() -> None:
    """Whatever a title or a name holds, the table that moves on a terminal has its lines and no others, and no escape but
    those of the table's own colours."""
    from rich.console import Console

    counts = dict.fromkeys(Statistics._fields, 0) | {"function": EVIL, "group": EVIL, "state": "running"}
    console = Console(file=io.StringIO(), width=300, force_terminal=False, markup=False, emoji=False)
    report = Report([], console, title=EVIL)
    console.print(report.table([Statistics(**counts), Statistics(**counts)]))  # type: ignore[arg-type]
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", "".join(lines))
    assert "forged" in lines[0]
