"""Filters: what a ``where=`` may say, what it costs, and that hostile input gets nowhere."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest

from dispatcher.core.record import Headers
from dispatcher.errors import ConfigurationError, FilterError, FilterEvaluationError
from dispatcher.filters import Filter


class Event(NamedTuple):
    value: bytes | None = None
    key: bytes | None = None
    headers: Headers = ()
    topic: str = "orders"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


def event(value: Any, **fields: Any) -> Event:
    """An event whose value is JSON."""
    return Event(json.dumps(value).encode(), **fields)


@pytest.mark.parametrize(
    ("expression", "given", "expected"),
    [
        ("value.total > 100.0", event({"total": 120.5}), True),
        ("value.total > 100.0", event({"total": 120}), True),
        ("value.total > 100.0", event({"total": 99}), False),
        ('value["total"] == 1', event({"total": 1}), True),
        ("value.lines.exists(line, line.price > 5.0)", event({"lines": [{"price": 1}, {"price": 6}]}), True),
        ("has(value.coupon) && value.coupon.off > 1", event({"total": 1}), False),
        ("size(value) == 2", event([1, 2]), True),
        ("value == null", Event(None), True),
        ('key == "h-1"', event({}, key=b"h-1"), True),
        ('key == b"\\xff"', event({}, key=b"\xff"), True),
        ("key == null", event({}), True),
        ('headers.region == "eu"', event({}, headers=(("region", b"us"), ("region", b"eu"))), True),
        ('"region" in headers', event({}), False),
        ('stream == "orders"', event({}), True),
        ("[1, 2].all(value, value > 0)", Event(b"\xff"), True),
    ],
)
def test_an_expression_decides_over_value_key_headers_and_stream(expression: str, given: Event, expected: bool) -> None:
    """Each of the four variables has the type and the content that the docstring says."""
    assert Filter(expression).matches(given) is expected


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("value.total >", "column 14"),
        ("valu.total > 1", "'valu.total'"),
        ('stream == "a" && stream == 3', "column 25"),
        ("value.a\n  == )", "line 2, column 6"),
        ("", "column 1"),
        ("now() > 1", "'now'"),
        ("(" * 500 + "true" + ")" * 500, "recursion limit"),
        ("||".join(["value.a"] * 20_000), "size exceeds"),
    ],
)
def test_an_expression_that_does_not_compile_is_refused_with_its_place(expression: str, where: str) -> None:
    """A mistake is found when the filter is made, as a configuration error that points at it."""
    with pytest.raises(FilterError) as caught:
        Filter(expression)
    assert where in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)


def test_the_message_draws_an_arrow_under_the_mistake() -> None:
    """A person sees which character is wrong."""
    with pytest.raises(FilterError) as caught:
        Filter('stream == "a" && stream == 3')
    line, arrow = str(caught.value).split("\n")[1:]
    assert line[arrow.index("^")] == "="


@pytest.mark.parametrize("expression", ["value.total", "stream", "1 + 1", "value.a ? 1 : 2"])
def test_an_expression_that_gives_no_boolean_is_refused(expression: str) -> None:
    """Truthiness is never guessed at."""
    with pytest.raises(FilterError, match="not true or false"):
        Filter(expression)


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("value.total > 100.0", event({})),
        ("value.total > 100.0", event({"total": "much"})),
        ("value.total > 100.0", event([1])),
        ("value.total > 100.0", Event(None)),
        ("value.total > 100.0", Event(b"")),
        ("value.total > 100.0", Event(b"{")),
        ("value.total > 100.0", Event(b"\xff\xfe\x00")),
        ("value.total > 100.0", event({"total": 2**70})),
        ('value.name == "x"', Event(b'{"name": "\\ud800"}')),
        ('key.startsWith("h")', event({})),
        ("value.a.matches(value.a)", event({"a": "(" * 50_000})),
        ("value.xs.all(a, value.xs.all(b, value.xs.all(c, a + b + c > 0)))", event({"xs": [*range(1, 200)]})),
        ("value.__class__.__mro__ != null", event({"total": 1})),
        ("value.a / 0 == 1", event({"a": 1})),
    ],
)
def test_no_answer_is_an_error_of_its_own_and_never_false(expression: str, given: Event) -> None:
    """An event that the filter can't judge is told apart, so that it is never dropped silently."""
    with pytest.raises(FilterEvaluationError) as caught:
        Filter(expression).matches(given)
    assert len(str(caught.value)) < 1_000


def test_a_regular_expression_bomb_stays_fast() -> None:
    """``(a+)+$`` on 100,000 characters takes a linear engine milliseconds, a backtracking one for ever."""
    bomb = Filter('value.text.matches("(a+)+$")')
    given = event({"text": "a" * 100_000 + "b"})
    began = time.process_time()
    assert bomb.matches(given) is False
    assert time.process_time() - began < 1.0


def test_attributes_of_python_objects_are_out_of_reach() -> None:
    """A name with underscores is a field of the event like any other, and nothing else."""
    assert Filter('value.__class__ == "economy"').matches(event({"__class__": "economy"})) is True


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_no_answer_and_ends_no_process(depth: int) -> None:
    """A payload of brackets, which overflows a recursive conversion's stack, is an error like any other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    with pytest.raises(FilterEvaluationError, match="deep"):
        Filter("size(value.a) == 1").matches(Event(None), {"a": value})
    with pytest.raises(FilterEvaluationError):
        Filter("size(value.a) == 1").matches(Event(b'{"a": ' + b"[" * depth + b"]" * depth + b"}"))


def test_a_huge_payload_costs_only_the_fields_that_are_named() -> None:
    """A field of a 20 MB event is found without converting the rest of it."""
    value = {f"field{number}": "x" * 200 for number in range(100_000)} | {"total": 7}
    given = Event(b"")
    narrow = Filter("value.total == 7")
    wide = Filter("size(value) == 100001 && value.total == 7")
    began = time.perf_counter()
    assert narrow.matches(given, value) is True
    between = time.perf_counter()
    assert wide.matches(given, value) is True
    assert (between - began) * 5 < time.perf_counter() - between


@pytest.mark.parametrize(
    "expression",
    [
        'value.a == 1 && value["b"] == 2',
        'value.a == 1 && ".value.c" != "value" && value.b == 2 // value',
        "[value].exists(v, v.a == 1 && v.b == 2)",
        "value.exists(k, k == 'b') && value.a == 1",
        r"r'\d'.size() == 2 && value.a == 1 && value['b'] == 2",
        "value\n.\na == 1 && value . b == 2",
        "has(value.a) && has(value.b) && !has(value.c)",
        "{'value': 1}.value == 1 && value.b == 2",
        "value.a == 1 && .value.b == 2",
        "'''it's a value''' != '' && value.b == 2",
    ],
)
def test_naming_fields_in_any_manner_finds_them(expression: str) -> None:
    """Leaving out the fields that are not named never changes an answer."""
    assert Filter(expression).matches(event({"a": 1, "b": 2, "other": 3})) is True


def test_value_is_not_decoded_for_an_expression_that_does_not_name_it() -> None:
    """A filter over the key works on events that are no JSON."""
    by_key = Filter('key == "a"')
    assert by_key.needs_value is False
    assert by_key.matches(Event(b"\x00\xff", key=b"a")) is True
    assert Filter("value.a == 1").needs_value is True
