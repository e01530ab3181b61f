"""Logs, the report and the summary, as text."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from rich.console import Console

from dispatcher.telemetry.lines import JSONFormatter, TextFormatter
from dispatcher.telemetry.logs import configure
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.report import Report
from dispatcher.telemetry.summary import Summary, render
from dispatcher.telemetry.text import columns, duration, number, printable

EVIL = "x\n12:00:00 ERROR forged\x1b[2J\x9b\u202e\ud800\x00"


def statistics(function: str = "f", **changes: object) -> Statistics:
    """Statistics that are zero but for the changes."""
    zeros = dict.fromkeys(Statistics._fields, 0)
    return Statistics(**(zeros | {"function": function, "group": "app.f", "state": "running"} | changes))  # type: ignore[arg-type]


def record(message: str, **extra: object) -> logging.LogRecord:
    """A log record as the logging module makes it."""
    made = logging.makeLogRecord({"name": "app", "levelname": "INFO", "msg": message, "created": 0.0} | extra)
    try:
        raise ValueError(EVIL)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_log_line_can_not_be_forged() -> None:
    """A message with newlines and escapes is one line; a traceback's lines are indented, so none passes for a log line."""
    first, *rest = TextFormatter().format(record(EVIL)).split("\n")
    assert first.isprintable()
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_json_logs_carry_everything_in_ascii() -> None:
    """The fields given as extra= and the traceback are there; what a terminal would obey is escaped."""
    line = JSONFormatter().format(record("hello", partition=3))
    assert line.isascii()
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["message"], fields["partition"], fields["level"]) == ("hello", 3, "info")
    assert fields["time"] == "1970-01-01T00:00:00.000+00:00"
    assert "ValueError" in fields["traceback"]


def test_logging_survives_a_reader_that_has_gone() -> None:
    """When stderr is a closed pipe, a log call is no exception in the work."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure(Console(file=Gone()), level="info")
        logging.getLogger("anything").error("nobody listens")
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_printable_keeps_text_and_escapes_what_acts() -> None:
    """Letters of all languages stay; control, direction and surrogate characters are spelt out."""
    assert printable("Grüße, 世界 😀") == "Grüße, 世界 😀"
    assert printable("a\tb\x1b[1m\u202e\ud800") == "a\\tb\\x1b[1m\\u202e\\ud800"


def test_columns_line_up() -> None:
    """Cells are as wide as the widest, numbers end flush, and no line has spaces at its end."""
    lines = columns([["name", "n"], ["a", "1"], ["long name", "1,000"]], right=[1])
    assert lines == ["name           n", "a              1", "long name  1,000"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1234567), "1,234,567"),
        (number(None), "-"),
        (number(0.44), "0.4"),
        (duration(0.421), "0.42 s"),
        (duration(302), "5 min 02 s"),
        (duration(11_225), "3 h 07 min"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    """Thousands, unknowns and times are written for people."""
    assert shown == expected


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """After a burst and a silence the throughput falls to nothing, whatever the average since the start."""
    now = [0.0]
    done = [0]

    class Function:
        def statistics(self) -> Statistics:
            return statistics(done=done[0])

    report = Report([Function()], Console(file=io.StringIO()), title="t", clock=lambda: now[0])
    assert report.rate("f") is None
    for second in range(20):
        now[0] = float(second)
        done[0] = min(second, 5) * 100
        report._sample()
        if second == 4:
            assert report.rate("f") == 100.0
    assert report.rate("f") == 0.0


@pytest.mark.parametrize(
    ("width", "gone"),
    [
        (200, set()),
        (80, {"retries", "running", "parked"}),
        (70, {"retries", "running", "parked", "events/s"}),
        (46, {"retries", "running", "parked", "events/s", "done"}),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_each_whole(width: int, gone: set[str]) -> None:
    """What tells whether all is well stays, state, lag and dead letters; titles and numbers are whole, the name is cut alone."""
    console = Console(file=io.StringIO(), width=width)
    report = Report([], console, title="t", clock=lambda: 0.0)
    name = "send_the_confirmation_of_an_order_to_its_customer"
    counts = {"backlog": 1_234_567, "dead_lettered": 17, "done": 98_765}
    console.print(report.table([statistics(name, **counts), statistics("f", **counts)]))
    _, titles, long, short = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    every = ["state", "events/s", "done", "lag", "retries", "running", "parked", "dead letters"]
    assert titles.split("  ")[0] == "function"
    assert [title for title in every if title in titles] == [title for title in every if title not in gone]
    for line in (long, short):
        assert line.split()[1] == "running"
        assert "1,234,567" in line
        assert line.split()[-1] == "17"
        assert len(line.rstrip()) <= width
    assert long.split()[0] == name or long.split()[0].endswith("…")


def test_off_a_terminal_news_is_said_at_once_and_the_rest_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """The first dead letter and a change of state get their line at once, growth of the counts every interval, silence none."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    report = Report([], Console(file=io.StringIO()), title="t", interval=5.0, clock=lambda: now[0])

    def said(seconds: float, **changes: object) -> bool:
        caplog.clear()
        now[0] = seconds
        report.say([statistics(**changes)])
        return bool(caplog.messages)

    assert said(0.0)
    assert not said(1.0, done=10)
    assert said(2.0, done=20, dead_lettered=1)
    assert not said(3.0, done=20, dead_lettered=2)
    assert said(4.0, done=20, dead_lettered=2, state="paused")
    assert not said(8.0, done=30, dead_lettered=2, state="paused")
    assert said(9.0, done=40, dead_lettered=2, state="paused")
    assert not said(60.0, done=40, dead_lettered=2, state="paused")


def test_the_summary_shows_what_was_not_finished_and_why() -> None:
    """A run that was cut short and a function that failed say so, and the equation still holds."""
    summary = Summary(
        functions=(statistics("f", consumed=10, done=6, dropped=1), statistics("g", skipped=3)),
        seconds={"f": 2.0, "g": 0.5},
        failures={"g": OSError("disk")},
        signal=2,
        forced=True,
    )
    lines = render(summary, look="dispatch dlq list FN")
    assert "+ not finished" in lines[0]
    assert lines[1].split()[:5] == ["f", "10", "6", "1", "3"]
    assert any("cut short" in line for line in lines)
    assert any("3 offsets" in line for line in lines)
    assert lines[-1] == "g failed: disk"
