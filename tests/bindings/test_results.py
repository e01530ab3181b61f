"""How return values and exceptions are read, and results made bytes."""

# ruff: noqa: D103 - helpers

import json
import math
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from event_types import Data, Model, Struct
from pydantic import BaseModel, Field

from bindings import BatchFailures, Emit, Event, EventFailed, InvalidOutcome, Reject, Retry
from bindings.results import encode, failures_of, named_failures, results_of
from bindings.testing import event


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


RECORDS = [Record("orders-a", 0, 100), Record("orders-a", 1, 100), Record("orders", 0, 101)]


def items(*identifiers):
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


@pytest.mark.parametrize("returned", [None, {}, items(), {"batchItemFailures": None}, "done", [1], 0, [items()]])
def test_nothing_named_means_all_done(returned):
    """None, an empty list and every other return value fail no event."""
    assert failures_of(returned, RECORDS) == {}


def test_kafka_identifiers_are_read():
    """AWS's object names a record by `<topic>-<partition>` and offset, dashes in the topic included."""
    failures = failures_of(
        items({"partition": "orders-a-1", "offset": 100}, {"partition": "orders-0", "offset": 101}), RECORDS
    )
    assert sorted(failures) == [1, 2]
    assert all(isinstance(error, EventFailed) for error in failures.values())


def test_event_ids_are_identifiers_too():
    """`Event.id` names a record, and naming one twice is naming it."""
    assert list(failures_of(items("orders-a/0/100", "orders-a/0/100"), RECORDS)) == [0]


@pytest.mark.parametrize(
    "returned",
    [
        items({"partition": "orders-a-1", "offset": 99}),
        items({"partition": "other-0", "offset": 100}),
        items({"partition": "orders-a-1", "offset": "100"}),
        items({"partition": "orders-a-1", "offset": True}),
        items({"partition": "orders-a-1"}),
        items({"partition": ["orders-a-1"], "offset": 100}),
        items({"partition": "orders-a-0", "offset": 100}, "orders/9/9"),
        items(""),
        items(None),
        items(3),
        {"batchItemFailures": ["orders-a/0/100"]},
        {"batchItemFailures": [{}]},
        {"batchItemFailures": "orders-a/0/100"},
        {"batchItemFailures": {"itemIdentifier": "orders-a/0/100"}},
    ],
)
def test_unknown_identifier_fails_the_whole_batch(returned):
    """An identifier that is of no record here is never taken for success: AWS fails the whole batch too."""
    with pytest.raises(InvalidOutcome, match="batchItemFailures"):
        failures_of(returned, RECORDS)


def test_batch_failures_name_events_and_indexes():
    """Events are found by identity, so two that are equal are two; texts become exceptions."""
    batch = [event({"n": 1}), event({"n": 1}), event({"n": 1})]
    reject, later = Reject("no"), Retry.after(3)
    failures = named_failures(BatchFailures({batch[1]: reject, 0: later, batch[2]: "text"}), batch)
    assert failures[1] is reject
    assert failures[0] is later
    assert isinstance(failures[2], EventFailed)
    assert str(failures[2]) == "text"


@pytest.mark.parametrize("key", [3, -1, True, event({"n": 1}), "orders/0/1"])
def test_foreign_event_fails_the_whole_batch(key):
    """An index out of range, or an event of another batch, is never taken for success of all others."""
    with pytest.raises(InvalidOutcome, match="not in the batch of 3"):
        named_failures(BatchFailures({key: "failed"}), [event({"n": 1}) for _ in range(3)])


@pytest.mark.parametrize(
    ("failures", "error"), [({}, ValueError), ([1], TypeError), ({0: 3}, TypeError), ({0: ValueError}, TypeError)]
)
def test_batch_failures_are_checked_where_they_are_made(failures, error):
    """What names no event, or gives no reason, is refused on the user's own line."""
    with pytest.raises(error):
        BatchFailures(failures)


class Pair(NamedTuple):
    left: int
    right: int


def test_return_values_are_results():
    """None is none, a list is many without its Nones, all else is one; an Emit keeps its key."""
    emit = Emit({"n": 1}, key="k", headers=[("a", b"1")])
    assert results_of(None) == []
    assert results_of([]) == []
    assert results_of(items("orders/0/1")) == []
    assert results_of({"n": 1}) == [Emit({"n": 1})]
    assert results_of({}) == [Emit({})]
    assert results_of("text") == [Emit("text")]
    assert results_of(b"bytes") == [Emit(b"bytes")]
    assert results_of(0) == [Emit(0)]
    assert results_of(Pair(1, 2)) == [Emit(Pair(1, 2))]
    assert results_of([{"n": 1}, None, emit]) == [Emit({"n": 1}), emit]
    assert results_of((1, 2)) == [Emit(1), Emit(2)]
    assert results_of(emit)[0] is emit


async def _coroutine(): ...
async def _async_generator():
    yield 1


def test_what_nothing_has_run_is_refused():
    """A generator, an iterator and a coroutine are not silently thrown away."""
    coroutine = _coroutine()
    for returned in ((n for n in range(3)), map(str, [1]), _async_generator(), coroutine, [iter([1])]):
        with pytest.raises(InvalidOutcome, match="nothing has run"):
            results_of(returned)
    coroutine.close()


class Aliased(BaseModel):
    household: str = Field(alias="householdId")


class Nested(BaseModel):
    total: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"\xff", b"\xff"),
        (bytearray(b"ab"), b"ab"),
        ("café", "café".encode()),
        (Model(name="x", total=1), b'{"name":"x","total":1.0}'),
        (Data("x", 1.5), b'{"name":"x","total":1.5}'),
        (Struct("x", 1.5), b'{"name":"x","total":1.5}'),
        ({"a": Struct("x", 1.5)}, b'{"a":{"name":"x","total":1.5}}'),
        ({"a": [1, None, True]}, b'{"a":[1,null,true]}'),
        ([Data("x", 1.0)], b'[{"name":"x","total":1.0}]'),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, b'{"at":"2026-01-01T00:00:00Z"}'),
        ({"n": math.nan}, b'{"n":null}'),
        (Nested(total=math.inf), b'{"total":null}'),
        (3, b"3"),
        (False, b"false"),
    ],
)
def test_results_become_bytes(value, expected):
    """Each kind of result has one form, which is JSON unless it was bytes or text."""
    assert encode(value) == expected


def test_aliases_make_the_round_trip():
    """A model is written by the names that it is read by, alone and inside something else."""
    model = Aliased(householdId="h1")
    assert Aliased.model_validate_json(encode(model)) == model
    assert json.loads(encode({"a": model})) == {"a": {"householdId": "h1"}}


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value", [object(), {"a": object()}, {1, "a", object()}, "\ud800", {"a": "\ud800"}, CIRCLE, Event]
)
def test_what_json_can_not_hold_is_refused(value):
    """A result that can't be written is an error with its type, not broken bytes in the stream."""
    with pytest.raises(InvalidOutcome, match=f"a result of type {type(value).__name__} can't be made JSON"):
        encode(value)
