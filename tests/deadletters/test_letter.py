"""From a dead letter's record to the record that takes it back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bindings import Binding, bindings_of, on_stream
from bindings.failure import Failure, FailureKind
from dispatcher.core.delivery import Delivery
from dispatcher.core.offsets import OffsetMap
from dispatcher.core.partition import Partition
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.core.retries import Reason
from dispatcher.core.settlement import DeadLettered
from dispatcher.deadletters import Letter, Selection, Shelf, read_letter, redriven
from dispatcher.errors import FilterError
from dispatcher.filters import Filter
from dispatcher.worker.records import dead_letter, read_retry_copy, truncated

HEADERS = (("trace", b"\x00\xff"), ("trace", b"again"), ("none", None))


@on_stream("orders")
async def handle(order: dict[str, int]) -> None:
    """A function with dead letters."""


@dataclass
class Rec:
    topic: str = "orders"
    partition: int = 2
    offset: int = 40
    timestamp: int = 1_000
    key: bytes | None = b"k\xff"
    value: bytes | None = b'{"n": 1}'
    headers: tuple[tuple[str, bytes | None], ...] = field(default=HEADERS)


def _binding() -> Binding:
    (binding,) = bindings_of(handle)
    return binding


def _dead(record: Rec) -> Outgoing:
    """The dead letter that a worker writes of a record."""
    delivery = Delivery(record, Partition(TopicPartition("orders", 2), 0, OffsetMap()), None, 0)
    history = delivery.remember()
    history.attempts, history.first_failed, history.last_failed = 5, 2_000, 3_000
    failure = Failure(kind=FailureKind.FUNCTION, error_type="app.Broken", message="so\nit is")
    return dead_letter(_binding(), DeadLettered(delivery, Reason.ATTEMPTS, failure))


def _at_rest(outgoing: Outgoing, offset: int = 7) -> Rec:
    return Rec(outgoing.topic, 1, offset, 4_000, outgoing.key, outgoing.value, outgoing.headers)


def _letter(**changes: object) -> Letter:
    return read_letter(_at_rest(_dead(Rec(**changes))))  # type: ignore[arg-type]


def test_a_letter_says_all_that_the_worker_wrote() -> None:
    """What went wrong comes back whole, and the event's key, value and headers byte for byte."""
    letter = _letter()
    assert (letter.place, letter.event) == ("orders.handle.dead/1@7", "orders/2@40")
    assert (letter.function, letter.reason, letter.attempts, letter.redrives, letter.cut) == (
        "handle",
        "attempts",
        5,
        0,
        None,
    )
    assert (letter.error_type, letter.error_message) == ("app.Broken", "so\nit is")
    assert (letter.origin.key, letter.origin.value, letter.origin.headers) == (b"k\xff", b'{"n": 1}', HEADERS)


def test_a_redriven_event_comes_back_as_it_was_first_consumed() -> None:
    """The worker reads it with its own coordinates, no attempts used and no wait; its next dead letter counts redrives."""
    sent = redriven(_letter(), "orders.handle.retry", 9_000)
    back = read_retry_copy(Rec(sent.topic, 0, 0, 9_000, sent.key, sent.value, sent.headers), 9_000)
    assert (back.attempts, back.wait) == (0, 0)
    origin = back.origin
    assert (origin.topic, origin.partition, origin.offset, origin.timestamp) == ("orders", 2, 40, 1_000)
    assert (origin.key, origin.value) == (b"k\xff", b'{"n": 1}')
    assert [header for header in origin.headers if header in HEADERS] == list(HEADERS)
    again = read_letter(_at_rest(_dead(Rec(headers=tuple(origin.headers)))))
    assert (again.redrives, again.origin.headers) == (1, HEADERS)


def test_a_cut_letter_says_how_large_it_was() -> None:
    """So that nobody sends the rest of an event for the whole."""
    letter = read_letter(_at_rest(truncated(_dead(Rec(value=b"x" * 500)), 50)))
    assert (letter.cut, letter.origin.value) == (500, b"x" * 50)


@pytest.mark.parametrize("broken", [(), (("dispatch-dead-stream", b"orders"),)])
def test_what_is_no_dead_letter_is_none(broken: tuple[tuple[str, bytes], ...]) -> None:
    """Somebody else's records in the topic are passed over, not taken for letters of the function."""
    record = Rec(headers=broken)
    with pytest.raises(ValueError, match="dispatch-dead-"):
        read_letter(record)
    assert Shelf(app="shop", function="handle", topics=("orders.handle.dead",)).read(record) is None


def test_a_topic_that_functions_share_shows_each_its_own() -> None:
    """Another function's letter is not this one's to send back."""
    record = _at_rest(_dead(Rec()))
    assert Shelf(app="shop", function="other", topics=("dead",)).read(record) is None
    assert Shelf(app="shop", function="handle", topics=("dead",)).read(record) is not None


def test_loops_and_strangers_are_held() -> None:
    """The guard counts redrives, and what came from no stream of the function has no way back."""
    shelf = Shelf(app="shop", function="handle", topics=("dead",), streams=("orders",))
    looping = _letter(headers=(("dispatch-dead-redrives", b"3"),))
    assert shelf.obstacle(looping, max_redrives=3) == "looping"
    assert shelf.obstacle(looping, max_redrives=4) is None
    assert shelf.obstacle(looping, max_redrives=None) is None
    stranger = _letter(topic="elsewhere")
    assert shelf.obstacle(stranger, max_redrives=None) == "foreign"
    unknown = Shelf(app="shop", function="handle", topics=("dead",))
    assert unknown.obstacle(stranger, max_redrives=None) is None
    assert unknown.obstacle(_letter(topic="orders.handle.retry"), max_redrives=None) == "foreign"


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection(since_ms=4_000), True),
        (Selection(since_ms=4_001), False),
        (Selection(until_ms=4_000), False),
        (Selection(until_ms=4_001), True),
        (Selection(reasons=("rejected",)), False),
        (Selection(reasons=("rejected", "attempts")), True),
        (Selection(errors=("Broken",)), True),
        (Selection(errors=("app.Broken",)), True),
        (Selection(errors=("app",)), False),
        (Selection(key=b"k\xff"), True),
        (Selection(key=b"k"), False),
        (Selection(where=Filter("value.n == 1")), True),
        (Selection(where=Filter("value.n == 2")), False),
        (Selection(where=Filter('stream == "orders"')), True),
        (Selection(places=frozenset({"1@7"})), True),
        (Selection(places=frozenset({"orders.handle.dead/1@7"})), True),
        (Selection(places=frozenset({"0@7"})), False),
    ],
)
def test_each_filter_means_what_it_says(selection: Selection, meant: bool) -> None:
    """Bounds are half-open, an error is named whole or by its last name, CEL sees the original event."""
    assert selection.matches(_letter()) is meant


def test_a_filter_with_no_answer_is_counted() -> None:
    """A letter whose value is no JSON is left out by --where, and the person is told how many were."""
    selection = Selection(where=Filter("value.n == 1"))
    assert not selection.matches(_letter(value=b"\xff"))
    assert selection.unanswered == 1
    with pytest.raises(FilterError):
        Filter("value.n ==")
