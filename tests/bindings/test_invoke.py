"""bindings.testing: a function is tested with events and no dispatcher."""

# ruff: noqa: D103 - helpers

import doctest
import sys

import pytest
from event_types import Data, Model

import bindings.testing
from bindings import BatchFailures, Context, Emit, Event, InvalidOutcome, Reject, Retry, on_stream
from bindings.testing import event, invoke, invoke_async


def test_documented_example_works():
    """The example in the module's docstring does what it says."""
    result = doctest.testmod(bindings.testing, raise_on_error=False)
    assert result.attempted > 8
    assert result.failed == 0


@on_stream("orders", emits="out")
def shout(order: Event[Model], context: Context) -> Emit | None:
    """Say back all that it was handed."""
    if order.value.name == "retry":
        raise Retry.after(3)
    if order.value.name == "reject":
        raise Reject("no")
    if order.value.name == "fail":
        raise OSError("down")
    context.emit(f"{context.attempt} {context.event_id}", key=order.key)
    return Emit(order.value, key="k", headers=order.headers)


def test_a_function_is_handed_what_the_dispatcher_would_hand_it():
    """Key, headers, attempt and decoded value reach the function; what it emits is in order."""
    result = invoke(shout, {"name": "x", "total": 1}, key="key", headers={"a": "1"}, attempt=3)
    assert result.outcome == "done"
    assert result.emitted == (
        Emit("3 orders/0/0", key=b"key"),
        Emit(Model(name="x", total=1), key="k", headers=(("a", b"1"),)),
    )


@pytest.mark.parametrize("value", [Model(name="x", total=1), Data("x", 1), '{"name": "x", "total": 1}'])
def test_values_are_decoded_as_on_the_way(value):
    """A model, a dataclass and a text become the bytes that a stream would hold."""
    assert invoke(shout, value).emitted[1].value == Model(name="x", total=1)


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({"name": "retry", "total": 1}, "retry"),
        ({"name": "reject", "total": 1}, "reject"),
        ({"name": "fail", "total": 1}, "failed"),
        ({"name": "x"}, "reject"),
        (b"\xff", "reject"),
        (None, "reject"),
    ],
)
def test_outcomes_are_read(value, outcome):
    """What the function raised, and what can't be decoded, is an outcome with its error and emits nothing."""
    result = invoke(shout, value)
    assert result.outcome == outcome
    assert result.error is not None
    assert result.emitted == ()
    assert result.retry_after == (3 if outcome == "retry" else None)


def test_exit_in_a_function_is_a_failure():
    """sys.exit() ends neither the dispatcher nor the test: it is a failed attempt."""

    @on_stream("orders", retry=Retry(retry_on=OSError))
    def leave(order: dict) -> None:
        sys.exit(3)

    assert invoke(leave, {}).outcome == "failed"


def test_errors_that_the_policy_gives_up_on_are_rejected():
    """`give_up_on` counts here as in the dispatcher."""

    @on_stream("orders", retry=Retry(give_up_on=(KeyError,)))
    def check(order: dict) -> None:
        order["absent"]

    assert invoke(check, {}).outcome == "reject"


@on_stream("orders", emits="out")
async def batch(orders: list[Event[Model]], context: Context) -> dict | None:
    """Fail what is named so, in the style that is asked for."""
    context.emit(len(orders))
    if any(order.value.name == "aws" for order in orders):
        order = orders[0]
        failed = {"itemIdentifier": {"partition": f"{order.stream}-{order.partition}", "offset": order.offset}}
        return {"batchItemFailures": [failed]}
    failures = {order: Reject("bad") for order in orders if order.value.name == "bad"}
    if failures:
        raise BatchFailures(failures)
    if any(order.value.name == "all" for order in orders):
        raise OSError("all of them")
    return None


def model(name: str) -> Model:
    return Model(name=name, total=1)


def test_events_of_a_batch_have_their_own_outcomes():
    """An undecodable event never reaches the function; named ones fail; the others are done and emit."""
    result = invoke(batch, [model("x"), b"not JSON", model("bad"), model("y")])
    assert [each.outcome for each in result.events] == ["done", "reject", "reject", "done"]
    assert result.emitted == (Emit(3),)
    with pytest.raises(ValueError, match="fared differently"):
        _ = result.outcome


def test_aws_style_failures_are_read():
    """`batchItemFailures` names events by their coordinates."""
    result = invoke(batch, [model("aws"), model("y")])
    assert [each.outcome for each in result.events] == ["failed", "done"]


def test_a_whole_batch_fails_and_emits_nothing():
    """Any other exception fails every event."""
    result = invoke(batch, [model("all"), model("y")])
    assert result.outcome == "failed"
    assert result.emitted == ()


def test_foreign_event_fails_the_whole_batch():
    """Naming an event that is not in the batch is not success of the others."""

    @on_stream("orders")
    def check(orders: list[dict]) -> None:
        raise BatchFailures({7: "where is it?"})

    result = invoke(check, [{}, {}])
    assert result.outcome == "failed"
    assert isinstance(result.error, InvalidOutcome)


def test_result_that_can_not_be_written_is_a_failure():
    """The dispatcher could not emit it, so the test says so."""

    @on_stream("orders", emits="out")
    def check(order: dict) -> object:
        return object()

    result = invoke(check, {})
    assert result.outcome == "failed"
    assert isinstance(result.error, InvalidOutcome)


def test_events_keep_their_place():
    """An event that was made by hand reaches the function with its stream, partition, offset and time."""
    seen = []

    @on_stream("orders")
    def check(order: Event[dict]) -> None:
        seen.append(order)

    invoke(check, event({"n": 1}, key="k", stream="s", partition=2, offset=9, timestamp_ms=5, headers=[("a", None)]))
    (order,) = seen
    assert (order.id, order.key, order.timestamp_ms, order.headers, order.raw) == (
        "s/2/9",
        b"k",
        5,
        (("a", None),),
        b'{"n":1}',
    )


def test_one_of_several_bindings_is_chosen_by_name():
    """A function with two bindings is tested under either."""

    @on_stream("orders", name="loud", emits="out")
    @on_stream("orders", name="quiet")
    def check(order: dict) -> dict:
        return order

    assert invoke(check, {}, name="loud").emitted == (Emit({}),)
    assert invoke(check, {}, name="quiet").emitted == ()
    with pytest.raises(TypeError, match="no binding named 'other'"):
        invoke(check, {}, name="other")


def test_wrong_use_is_refused():
    """An undecorated function, a list for one event and one event for a list are errors of the test itself."""

    def plain(order: dict) -> None: ...

    with pytest.raises(TypeError, match="decorate it with @on_stream"):
        invoke(plain, {})
    with pytest.raises(TypeError, match="shout takes one event"):
        invoke(shout, [model("x")])
    with pytest.raises(TypeError, match="batch takes a list of events"):
        invoke(batch, model("x"))


async def test_inside_a_loop():
    """An async test awaits invoke_async; invoke says so instead of leaving a coroutine behind."""
    assert (await invoke_async(batch, [model("x")])).outcome == "done"
    assert (await invoke_async(shout, model("x"))).outcome == "done"
    assert invoke(shout, model("x")).outcome == "done"
    with pytest.raises(RuntimeError, match="invoke_async"):
        invoke(batch, [model("x")])
