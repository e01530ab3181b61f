"""``dispatch send`` and ``dispatch streams``: what goes in comes out, and a broken line costs nothing."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest


def tail(dispatch: Any, stream: str, *words: str) -> list[dict[str, Any]]:
    """The stream's events, as ``--json`` prints them."""
    done = dispatch("streams", "tail", stream, "--json", *words)
    assert done.code == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_sent_is_in_the_stream_byte_for_byte(dispatch: Any) -> None:
    """Values are the lines as they were, keys and headers as asked, and the summary tells the number."""
    lines = ['{"id": 7, "who": {"name": "Ann"},  "total": 1.10}', "", '{"who": {"name": "B\\u00e9a"}}']
    done = dispatch(
        "send", "orders", "-", "--key", "who.name", "--header", "a=1", "--header", "b=x=y", stdin="\n".join(lines)
    )
    assert (done.code, done.stdout) == (0, "")
    assert "sent 2 events to orders" in done.stderr
    events = tail(dispatch, "orders")
    assert {event["key"] for event in events} == {"Ann", "Béa"}
    assert events[0]["headers"] == [
        {"name": "a", "value": "1", "type": "text"},
        {"name": "b", "value": "x=y", "type": "text"},
    ]
    assert any(lines[0] in line for line in dispatch("streams", "tail", "orders").stdout.splitlines())


def test_equal_keys_meet_in_one_partition_and_keep_their_order(dispatch: Any) -> None:
    """Many sends are in flight at once, and still each key's events lie in the order of their lines."""
    lines = [json.dumps({"id": number % 7, "number": number}) for number in range(5_000)]
    dispatch.write("orders.jsonl", "\n".join(lines) + "\n")
    done = dispatch("send", "orders", "orders.jsonl", "--key", "id", "--partitions", "3", "--json")
    assert done.json["sent"] == 5_000
    assert sum(done.json["partitions"].values()) == 5_000
    seen: dict[str, list[int]] = {}
    places: dict[str, set[int]] = {}
    for event in tail(dispatch, "orders"):
        seen.setdefault(event["key"], []).append(event["value"]["number"])
        places.setdefault(event["key"], set()).add(event["partition"])
    assert len(seen) == 7
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert all(len(partitions) == 1 for partitions in places.values())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": ', "line 4 is not JSON"),
        (b'{"id": NaN}', "line 4 is not JSON"),
        (b"\xff\xfe", "line 4 is not JSON"),
        (b"[" * 100_000, "line 4 is not JSON"),
        (b'{"other": 1}', "line 4 has no 'id'"),
        (b'{"id": null}', "line 4 has no 'id'"),
        (b"[1]", "line 4 has no 'id'"),
    ],
)
def test_a_broken_line_is_named_and_those_before_it_are_sent(dispatch: Any, line: bytes, problem: str) -> None:
    """Nothing that came before it is lost, nothing after it is sent, and the number is told."""
    done = dispatch("send", "orders", "-", "--key", "id", stdin=b'{"id": 1}\n\n{"id": 2}\n' + line + b'\n{"id": 3}\n')
    assert done.code == 1
    assert problem in done.stderr
    assert "sent 2 events" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(event["value"]["id"] for event in tail(dispatch, "orders")) == [1, 2]


def test_raw_sends_lines_as_they_are(dispatch: Any) -> None:
    """With --raw any bytes are events, empty ones and no UTF-8 among them."""
    dispatch("send", "lines", "-", "--raw", "--partitions", "1", stdin=b"plain\n\n\xff\r\n{\x1b")
    assert [(event["value"], event["value_type"]) for event in tail(dispatch, "lines")] == [
        ("plain", "text"),
        ("", "text"),
        (base64.b64encode(b"\xff\r").decode(), "base64"),
        ("{\x1b", "text"),
    ]


def test_lines_are_sent_as_they_come(dispatch: Any) -> None:
    """A pipe that stays open holds no event back, and Ctrl-C ends the wait with what was sent told."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "send", "orders"],
        cwd=dispatch.folder,
        env=dispatch.environ,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stderr
    process.stdin.write(b'{"id": 1}\n{"id": 2}\n{"half": ')
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not (dispatch.folder / ".dispatch" / "log.db").exists() or len(tail_or_none(dispatch)) < 2:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    said = process.stderr.read().decode()
    assert "sent 2 events" in said
    assert "Traceback" not in said
    process.stdin.close()
    process.stderr.close()


def tail_or_none(dispatch: Any) -> list[str]:
    """The lines of the stream, none before it is there."""
    return dispatch("streams", "tail", "orders").stdout.splitlines()


def test_rate_is_kept(dispatch: Any) -> None:
    """Twenty events at 40 a second take the time of nineteen pauses."""
    done = dispatch("send", "orders", "-", "--rate", "40", "--json", stdin="1\n" * 20)
    assert done.json["sent"] == 20
    assert done.json["seconds"] >= 19 / 40


def test_hostile_bytes_forge_no_line_and_move_no_cursor(dispatch: Any) -> None:
    """Keys and values with newlines, escapes and invisible characters are one printable line each, and safe JSON."""
    evil = "a\n2026-01-01T00:00:00Z orders/0@9 key=forged\x1b[2J\x9b1m\u202egnp\x00\x7f\u2028"
    text = json.dumps({"id": evil, "text": evil})
    dispatch("send", "orders", "-", "--key", "id", "--header", "h=\x1b]0;title\x07\x1b[31m", stdin=text)
    plain = dispatch("streams", "tail", "orders").stdout
    assert plain.count("\n") == 1
    assert plain.removesuffix("\n").isprintable()
    as_json = dispatch("streams", "tail", "orders", "--json").stdout
    assert as_json.isascii()
    assert as_json.count("\n") == 1
    assert as_json.removesuffix("\n").isprintable()
    assert json.loads(as_json)["key"] == evil


def test_tail_begins_where_it_is_told(dispatch: Any) -> None:
    """An offset, a time back, a limit and both ends each choose the events that they name."""
    dispatch("send", "orders", "-", "--partitions", "1", stdin="1\n2\n3\n4\n")
    assert [event["value"] for event in tail(dispatch, "orders")] == [1, 2, 3, 4]
    assert [event["value"] for event in tail(dispatch, "orders", "--from", "@2")] == [3, 4]
    assert [event["value"] for event in tail(dispatch, "orders", "--from", "@99")] == []
    assert [event["value"] for event in tail(dispatch, "orders", "--from", "-2h")] == [1, 2, 3, 4]
    assert [event["value"] for event in tail(dispatch, "orders", "--from", "latest")] == []
    assert [event["value"] for event in tail(dispatch, "orders", "--limit", "2")] == [1, 2]
    assert [event["value"] for event in tail(dispatch, "orders", "--from", "2999-01-01T00:00:00Z")] == []


def test_tail_follows(dispatch: Any) -> None:
    """With --follow what is sent later is printed, until the limit."""
    dispatch("send", "orders", "-", stdin="1\n")
    following = dispatch.start("streams", "tail", "orders", "--follow", "--limit", "2", "--json")
    assert following.process.stdout
    assert json.loads(following.process.stdout.readline())["value"] == 1
    dispatch("send", "orders", "-", stdin="2\n")
    assert json.loads(following.process.stdout.readline())["value"] == 2
    assert following.end().code == 0


def test_ctrl_c_ends_a_tail_that_follows_without_a_word(dispatch: Any) -> None:
    """The usual end of following a stream is no error to talk about; the exit code tells it."""
    dispatch("send", "orders", "-", stdin="1\n")
    following = dispatch.start("streams", "tail", "orders", "-f")
    assert following.process.stdout
    assert following.process.stdout.readline()
    following.interrupt()
    done = following.end()
    assert (done.code, done.stderr) == (130, "")


def test_list_show_and_create_agree(dispatch: Any) -> None:
    """A stream is made with the partitions and settings asked for; making it again is no error, otherwise it is one."""
    made = ("streams", "create", "orders", "--partitions", "3", "--set", "retention.ms=86400000")
    assert dispatch(*made).code == 0
    assert dispatch(*made).code == 0
    other = dispatch("streams", "create", "orders", "--partitions", "5")
    assert other.code == 1
    assert "3 partitions" in other.stderr
    dispatch("send", "orders", "-", "--key", "id", stdin='{"id": 1}\n{"id": 1}\n')
    assert dispatch("streams", "list", "--json").json == [{"stream": "orders", "partitions": 3, "events": 2}]
    shown = dispatch("streams", "show", "orders", "--json").json
    assert shown["config"] == {"retention.ms": "86400000"}
    assert sum(each["end"] - each["begin"] for each in shown["partitions"]) == 2
    assert "retention.ms" in dispatch("streams", "show", "orders").stdout


def test_a_misspelt_stream_is_guessed_at(dispatch: Any) -> None:
    """The error names the stream that was meant."""
    dispatch("send", "orders", "-", stdin="1\n")
    done = dispatch("streams", "show", "order")
    assert done.code == 1
    assert "did you mean orders?" in done.stderr


def test_a_reader_that_leaves_ends_the_command_quietly(dispatch: Any) -> None:
    """``dispatch streams tail | head -1`` prints its line and no traceback."""
    dispatch("send", "orders", "-", stdin="".join(f"{number}\n" for number in range(20_000)))
    done = subprocess.run(  # noqa: S602 - a pipe is what is tested
        f"{sys.executable} -m dispatcher streams tail orders | head -1",
        shell=True,
        cwd=dispatch.folder,
        env=dispatch.environ | {"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
