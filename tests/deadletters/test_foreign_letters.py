"""Dead letters of other programs, read; and Spring's headers, written."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.deadletters import read_letter

TRACE = """org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed
\tat org.springframework.kafka.listener.Adapter.invoke(Adapter.java:10)
Caused by: java.lang.IllegalStateException: no stock of 17
\tat com.shop.Stock.take(Stock.java:42)
\tat com.shop.Orders.handle(Orders.java:7)
"""
SPRING = (
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", struct.pack(">i", 1)),
    ("kafka_dlt-original-offset", struct.pack(">q", 5_000_000_000)),
    ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_000)),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-original-consumer-group", b"billing"),
    ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_dlt-exception-message", b"no stock of 17"),
    ("kafka_dlt-exception-stacktrace", TRACE.encode()),
)
CONNECT = (
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"0"),
    ("__connect.errors.offset", b"3"),
    ("__connect.errors.connector.name", b"sink"),
    ("__connect.errors.task.id", b"0"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"Converting byte[] to Kafka Connect data failed"),
    ("__connect.errors.exception.stacktrace", None),
)
APP = """
from bindings import DeadLetter, Event, Reject, Retry, on_stream

@on_stream("orders", retry=Retry(max_attempts=1), dead_letter=DeadLetter(format="spring"))
async def handle(order: Event[dict]) -> None:
    if order.value.get("fail"):
        raise Reject("not this one")
    with open("handled", "a") as file:
        file.write(f"{order.id} {order.timestamp_ms} {order.value['id']} {sorted(name for name, _ in order.headers)}\\n")
"""


async def write(dispatch: Any, topic: str, records: list[tuple[bytes, tuple[tuple[str, bytes | None], ...]]]) -> None:
    """Put records into a topic, as another program would."""
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        await broker.create_stream(StreamInfo(name=topic, partitions=1))
        producer = await broker.producer()
        for value, headers in records:
            await producer.send(Outgoing(topic=topic, value=value, key=b"k", headers=headers, partition=0))
        await producer.close()


async def test_letters_of_other_programs_are_listed_shown_and_sent_back(dispatch: Any) -> None:
    """Spring's and Connect's letters say where they came from and why, and come to the function with their first coordinates alone."""
    dispatch.write("app.py", APP)
    assert dispatch("send", "orders", "-", "--partitions", "2", stdin='{"id": 1}\n').code == 0
    mine = ("trace", b"abc")
    await write(
        dispatch,
        "orders-dlt",
        [(b'{"id": 7}', (mine, *SPRING)), (b'{"id": 8}', CONNECT), (b"neither", (("x", b"y"),))],
    )
    words = ("handle", "--stream", "orders-dlt", "--app", "shop")
    spring, connect = dispatch("dlq", "list", *words, "--json").json
    assert (spring["stream"], spring["partition"], spring["offset"]) == ("orders", 1, 5_000_000_000)
    assert (spring["timestamp_ms"], spring["reason"], spring["writer"]) == (1_700_000_000_000, "spring", "billing")
    assert (spring["error_type"], spring["error_message"]) == ("java.lang.IllegalStateException", "no stock of 17")
    assert spring["place"] == "Stock.java:com.shop.Stock.take"
    assert [header["name"] for header in spring["event"]["headers"]] == ["trace"]
    assert (connect["stream"], connect["offset"], connect["reason"], connect["writer"]) == (
        "orders",
        3,
        "connect",
        "sink",
    )
    assert connect["error_type"] == "org.apache.kafka.connect.errors.DataException"
    shown = dispatch("dlq", "show", "handle", "0@0", *words[1:])
    assert "billing" in shown.stdout
    causes = dispatch("errors", "list", "--only", *words, "--json")
    assert sorted(each["error_type"].rpartition(".")[2] for each in causes.json) == [
        "DataException",
        "IllegalStateException",
    ]
    assert len(dispatch("dlq", "list", *words, "--reason", "spring", "--json").json) == 1

    sent = dispatch("dlq", "redrive", *words, "--yes", "--json")
    assert (sent.code, sent.json["redriven"]) == (0, 2), sent.stderr
    assert dispatch("run", "app.py", "--until-caught-up").code == 0
    lines = (dispatch.folder / "handled").read_text().splitlines()
    assert "orders/1/5000000000 1700000000000 7 ['dispatch-dead-redrives', 'trace']" in lines
    assert any(line.startswith("orders/0/3 ") for line in lines)


async def test_spring_finds_its_own_headers_in_our_letters(dispatch: Any) -> None:
    """With format="spring" a letter has both, each number in Spring's own form, and ours is read as before: without Spring's."""
    dispatch.write("app.py", APP)
    assert dispatch("send", "orders", "-", "--partitions", "1", stdin='{"id": 1, "fail": true}\n').code == 0
    assert dispatch("run", "app.py", "--until-caught-up").code == 1
    async with EmbeddedBroker(dispatch.folder / ".dispatch" / "log.db") as broker:
        id_ = TopicPartition("orders.handle.dead", 0)
        [record] = (await broker.read({id_: 0}))[id_]
    headers = dict(record.headers)
    assert headers["kafka_dlt-original-topic"] == b"orders"
    assert struct.unpack(">i", headers["kafka_dlt-original-partition"] or b"") == (0,)
    assert struct.unpack(">q", headers["kafka_dlt-original-offset"] or b"") == (0,)
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"] or b"")[0] > 1_700_000_000_000
    assert headers["kafka_dlt-exception-fqcn"] == b"Reject"
    assert headers["kafka_dlt-exception-message"] == b"not this one"
    letter = read_letter(record)
    assert (letter.function, letter.reason, letter.raised_at) == ("handle", "rejected", "app.py:handle")
    assert letter.origin.headers == ()
    # As Spring's own console would read it: by its headers alone.
    theirs = tuple(header for header in record.headers if header[0].startswith("kafka_dlt-"))
    await write(dispatch, "elsewhere", [(record.value or b"", theirs)])
    [read] = dispatch("dlq", "list", "handle", "--stream", "elsewhere", "--json").json
    assert (read["stream"], read["offset"], read["place"]) == ("orders", 0, "app.py:handle")
    assert json.loads(record.value or b"") == {"id": 1, "fail": True}


@pytest.mark.parametrize(
    "headers",
    [
        [("kafka_dlt-original-topic", b"orders")],
        [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", b"1")],
        [(name, b"\xff" * 8 if name.endswith("offset") else value) for name, value in SPRING],
        [("__connect.errors.topic", b"orders"), ("__connect.errors.partition", b"x")],
        [("__connect.errors.topic", b""), *CONNECT[1:]],
        [(name, b"9" * 30 if name.endswith("offset") else value) for name, value in CONNECT],
    ],
)
async def test_what_only_looks_like_one_is_left_out(dispatch: Any, headers: Any) -> None:
    """Headers that are missing, or are no numbers, make no letter, and no error either."""
    await write(dispatch, "orders-dlt", [(b"{}", tuple(headers))])
    found = dispatch("dlq", "list", "handle", "--stream", "orders-dlt", "--app", "shop", "--json")
    assert (found.code, found.json) == (0, []), found.stderr
