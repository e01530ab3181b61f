"""on_stream: what it attaches, and what it refuses at import."""

import importlib
import inspect
from dataclasses import dataclass

import pytest

from bindings import Batch, DeadLetter, DeclarationError, Limits, Retry, bindings_of, on_stream


def test_function_stays_the_same_object():
    """Decorating changes nothing about the function: the same object, callable as before."""

    def double(order: dict) -> dict:
        return {"twice": order["n"] * 2}

    decorated = on_stream("orders")(double)
    assert decorated is double
    assert decorated({"n": 2}) == {"twice": 4}
    assert not inspect.iscoroutinefunction(decorated)


def test_defaults_are_the_promised_ones():
    """One event at a time, by key, five attempts, sixteen in flight, a minute each."""

    @on_stream("orders", "returns")
    def check(order: dict): ...

    (binding,) = bindings_of(check)
    assert (binding.name, binding.streams, binding.function) == ("check", ("orders", "returns"), check)
    assert (binding.order, binding.concurrency, binding.timeout, binding.rate) == ("key", 16, 60.0, None)
    assert (binding.batch, binding.retry) == (Batch(), Retry())
    assert (binding.where, binding.emits, binding.start) == (None, None, "earliest")
    assert binding.dead_letter_topic("returns") == "returns.check.dead"


def test_every_option_reaches_the_binding():
    """What is declared is what the dispatcher reads."""

    @on_stream(
        "orders",
        name="limits",
        order="partition",
        batch=Batch(max_events=10, group_by="key"),
        retry=Retry(max_attempts=2),
        concurrency=32,
        timeout=30,
        rate=5.5,
        where="value.total > 100.0",
        emits="breached",
        dead_letter="orders.dead",
        limits=Limits(held_events=10),
        start="-2h",
    )
    def check(orders: list[dict]): ...

    (binding,) = bindings_of(check)
    assert (binding.name, binding.order, binding.concurrency, binding.timeout) == ("limits", "partition", 32, 30)
    assert (binding.batch.group_by, binding.retry.max_attempts, binding.rate) == ("key", 2, 5.5)
    assert (binding.where, binding.emits, binding.start) == ("value.total > 100.0", "breached", "-2h")
    assert binding.dead_letter == DeadLetter(stream="orders.dead")
    assert binding.limits.held_events == 10


def test_a_list_is_a_batch():
    """A `list[...]` parameter makes a batch of 100 events or half a second, unless told otherwise."""

    @on_stream("orders")
    def plain(orders: list[dict]): ...

    @on_stream("orders", batch=Batch(max_events=1))
    def told(orders: list[dict]): ...

    assert bindings_of(plain)[0].batch == Batch(max_events=100, max_wait=0.5)
    assert bindings_of(told)[0].batch.max_events == 1


def test_two_decorations_are_two_bindings():
    """One function can consume under two policies, by two names, and not by one."""

    @on_stream("orders", name="second", order="none")
    @on_stream("orders", name="first")
    def check(order: dict): ...

    assert [binding.name for binding in bindings_of(check)] == ["first", "second"]
    assert {binding.function for binding in bindings_of(check)} == {check}
    with pytest.raises(DeclarationError, match=r"decorated twice as 'first'.*name="):
        on_stream("returns", name="first")(check)


def test_undecorated_function_has_no_bindings():
    """Looking at any object is safe."""
    assert bindings_of(len) == ()


def test_forgotten_parentheses_are_refused_at_import():
    """`@on_stream` and `@on_stream()` say what is missing, and where."""

    def check(order: dict): ...

    with pytest.raises(DeclarationError, match=r"test_decorator\.py:\d+: .*check: did you forget the parentheses"):
        on_stream(check)
    with pytest.raises(DeclarationError, match="did you forget the parentheses"):
        on_stream(staticmethod(check))
    with pytest.raises(DeclarationError, match=r'it consumes no stream: write @on_stream\("orders.enriched"\)'):
        on_stream()(check)


@pytest.mark.parametrize(
    ("streams", "options", "mend"),
    [
        (["o"], {"retires": Retry()}, r"no option retires=: did you mean retry=\? Its options are name, order, batch"),
        (["o"], {"group_id": "x"}, r"no option group_id=\. Its options are name"),
        (["o"], {"batch": 100}, r"batch=100 is of type int: write batch=Batch\(max_events=100\)"),
        (["o"], {"retry": 3}, r"write retry=Retry\(max_attempts=5\)"),
        (["o"], {"retry": Retry}, "write retry="),
        (["o"], {"limits": 100}, r"write limits=Limits\("),
        (["o"], {"concurrency": "16"}, r'a number of invocations, or "auto"'),
        (["o"], {"concurrency": True}, "write concurrency=16"),
        (["o"], {"timeout": None}, "write timeout=60.0"),
        (["o"], {"emits": ["a"]}, "write emits="),
        (["o"], {"where": lambda value: True}, "write where="),
        (["o"], {"dead_letter": 1}, "write dead_letter="),
        (["o"], {"start": 0}, "write start="),
        (["o"], {"name": 1}, "write name="),
        (["o"], {"order": "random"}, 'it is "key", "partition" or "none"'),
        (["o"], {"concurrency": 0}, "1 to 10,000 invocations"),
        (["o"], {"timeout": 0}, "more than 0"),
        (["o"], {"timeout": float("inf")}, "86,400 at most"),
        (["o"], {"rate": float("nan")}, "more than 0 invocations a second"),
        (["o"], {"start": "soon"}, "-2h"),
        (["o"], {"emits": "no spaces"}, "not a stream name"),
        (["o"], {"emits": ""}, "not a stream name"),
        (["o"], {"dead_letter": "no spaces"}, "dead_letter: 'no spaces' is not a stream name"),
        (["o"], {"dead_letter": "o"}, "round for ever"),
        (["o", "p"], {"dead_letter": "p"}, "round for ever"),
        (["o"], {"name": "with space"}, r'name="\.\.\."'),
        (["o"], {"name": "n" * 249}, r'name="\.\.\."'),
        (["o"], {"batch": Batch(max_events=2)}, r"annotate order: list\[dict\]"),
        (["o"], {"batch": Batch(group_by="key")}, r"annotate order: list\[dict\]"),
        (["o", "o"], {}, "named twice"),
        (["a b"], {}, "not a stream name"),
        ([["a", "b"]], {}, r'on_stream\("a", "b"\)'),
        ([3], {}, "3 is not the name of a stream"),
        (["o", Batch(max_events=3)], {}, "write batch=Batch"),
    ],
)
def test_misuse_is_refused_with_the_mend(streams, options, mend):
    """Each wrong option or stream is refused at import; the message has the function, its file and line."""

    def check(order: dict): ...

    with pytest.raises(DeclarationError, match=mend) as caught:
        on_stream(*streams, **options)(check)
    assert str(caught.value).startswith(f"{__file__}:{check.__code__.co_firstlineno}: ")
    assert "check: " in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_grouping_by_key_without_an_order_is_refused():
    """Batches of one key need lanes by key: without an order each event would wait out the linger alone."""

    def check(orders: list[dict]): ...

    with pytest.raises(DeclarationError, match="leave out one of them"):
        on_stream("o", order="none", batch=Batch(max_events=2, group_by="key"))(check)


def test_a_name_that_is_defined_later_is_resolved_later(project, monkeypatch):
    """A model below its function is found when the binding is asked for."""
    root = project(
        {
            "later.py": """
from __future__ import annotations
from bindings import on_stream
from pydantic import BaseModel

@on_stream("orders")
def check(order: Order) -> None: ...

class Order(BaseModel):
    line: Line

class Line(BaseModel):
    n: int
"""
        }
    )
    monkeypatch.syspath_prepend(root)
    check = importlib.import_module("later").check
    (binding,) = bindings_of(check)
    assert binding.signature.type_name == "Order"
    assert binding.signature.decode(b'{"line": {"n": 3}}').line.n == 3
    assert bindings_of(check)[0] is binding


def test_a_name_that_never_comes_is_refused():
    """A model that is imported for type checkers alone is named, with the mend."""

    @on_stream("orders")
    def check(order: "Absent") -> None: ...  # noqa: F821

    with pytest.raises(DeclarationError, match=r"name 'Absent', which is not defined.*TYPE_CHECKING"):
        bindings_of(check)


def test_types_of_an_enclosing_function_are_found():
    """A function inside a function may name its neighbours, in a text too."""

    @dataclass
    class Local:
        n: int

    @on_stream("orders")
    def check(order: "Local") -> None: ...

    assert bindings_of(check)[0].signature.decode(b'{"n": 1}') == Local(1)
