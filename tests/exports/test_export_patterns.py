"""``where=`` as EventBridge patterns: they let the same events through, judged by another's implementation of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.events.models import EventPattern

from bindings.envelopes.record import WireRecord
from dispatcher.errors import FilterEvaluationError
from dispatcher.exports.patterns import Untranslatable, patterns
from dispatcher.filters import Filter


def record(value: Any) -> WireRecord:
    """An event with that value."""
    return WireRecord("orders", 0, 0, 0, b"key", json.dumps(value).encode())


def lets_through(expression: str, value: Any) -> bool:
    """Whether one of the patterns matches, as AWS's mappings take them, by moto."""
    return any(
        EventPattern.load(json.dumps(pattern)).matches_event({"value": value}) for pattern in patterns(expression)
    )


@pytest.mark.parametrize(
    ("expression", "pattern"),
    [
        ('value.a == "x"', {"a": ["x"]}),
        ("'x' == value.a", {"a": ["x"]}),
        ("value.a.b.c == 5", {"a": {"b": {"c": [{"numeric": ["=", 5]}]}}}),
        ("5 < value.a && value.a <= 7.5", {"a": [{"numeric": [">", 5, "<=", 7.5]}]}),
        ("value.a != 'x'", {"a": [{"anything-but": ["x"]}]}),
        ("value.flag && value.n > 1", {"flag": [True], "n": [{"numeric": [">", 1]}]}),
        ("!value.flag && value.other == false", {"flag": [False], "other": [False]}),
        ("value.a == null", {"a": [None]}),
        ("value.a in ['x', 'y', 3]", {"a": ["x", "y", {"numeric": ["=", 3]}]}),
        ("has(value.a) && value.a > -1", {"a": [{"numeric": [">", -1]}]}),
        ("!has(value.a.b)", {"a": {"b": [{"exists": False}]}}),
        ('value.a.startsWith("x")', {"a": [{"prefix": "x"}]}),
        ('value.a.endsWith(".png")', {"a": [{"suffix": ".png"}]}),
    ],
)
def test_one_pattern(expression: str, pattern: dict[str, Any]) -> None:
    """Each comparison that patterns have, in their words."""
    Filter(expression)
    assert patterns(expression) == [{"value": pattern}]


def test_an_or_is_several_patterns() -> None:
    """An OR inside an AND is distributed: each pattern is one AND, and any of them lets an event through."""
    assert patterns("(value.a == 'x' || value.b == 'y') && value.c > 1") == [
        {"value": {"a": ["x"], "c": [{"numeric": [">", 1]}]}},
        {"value": {"b": ["y"], "c": [{"numeric": [">", 1]}]}},
    ]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ('key == "x"', "key"),
        ('headers["kind"] == "x"', "headers"),
        ('stream == "orders"', "stream"),
        ("value.a > 1 && key == 'x'", "key"),
        ("value.a == value.b", "no constant"),
        ("value.a + 1 > 2", r"\+"),
        ("value.a -1 > 2", "no comparison"),
        ("value['a'] == 1", "as a whole"),
        ("value.a.matches('x.*')", "no comparison"),
        ("size(value.a) > 1", "size"),
        ("value == null", "as a whole"),
        ("!(value.a == 'x')", "no field"),
        ("!value.a == false", "not understood"),
        ("value.a == null ? true : value.b == 1", r"\?"),
        ("value.a != null", "no counterpart"),
        ("value.a != 5", "no counterpart"),
        ("value.a > 'x'", "no counterpart"),
        ("value.a == 6000000000", "beyond"),
        ("value.a == 0.1234567", "beyond"),
        ("value.a == 100u", "no counterpart"),
        ("value.a == 0x10", "no counterpart"),
        (r"value.a == 'it\'s'", "no counterpart"),
        ("value.a == r'x'", "no constant"),
        ("value.a == b'x'", "no constant"),
        ('value.a == """x"""', "not understood"),
        ("value.a.startsWith('')", "text"),
        ("'x' in value.a", "no comparison"),
        ("value.a > 1 && value.a > 2", "twice"),
        ("has(value.a) && !has(value.a)", "twice"),
        ("value.a == 'x' && value.a == 'y'", "twice"),
        ("value.a == 'x' && value.a.b == 'y'", "field of what is compared"),
        ("value.a.b == 'y' && value.a == 'x'", "a field of it too"),
        (" || ".join(f"value.a == {number}" for number in range(6)), "more than 5"),
        (" && ".join(f"(value.a{n} == 1 || value.b{n} == 1)" for n in range(40)), "more than 5"),
        ("value.a in [" + ", ".join(f"'{number:020}'" for number in range(300)) + "]", "characters"),
    ],
)
def test_what_patterns_cannot_say_is_not_translated(expression: str, why: str) -> None:
    """Nothing is translated in part, and the reason is told."""
    Filter(expression)
    with pytest.raises(Untranslatable, match=why):
        patterns(expression)


_TYPES = {"text": ["", "x", "xy", "y"], "number": [-3, 0, 1.5, 2, 7], "flag": [True, False]}
_fields = st.sampled_from(["text", "number", "flag", "inner.text", "inner.number"])


@st.composite
def _comparison(draw: st.DrawFn) -> str:
    field = draw(_fields)
    kind = field.rpartition(".")[2]
    constant = json.dumps(draw(st.sampled_from(_TYPES[kind])))
    if kind == "flag":
        return draw(st.sampled_from([f"value.{field}", f"!value.{field}", f"value.{field} == {constant}"]))
    if kind == "number":
        return f"value.{field} {draw(st.sampled_from(['<', '<=', '>', '>=', '==']))} {constant}"
    forms = [f"value.{field} == {constant}", f"value.{field} != {constant}", f"value.{field} in [{constant}, 'z']"]
    if constant != '""':
        forms += [f"value.{field}.startsWith({constant})", f"value.{field}.endsWith({constant})"]
    return draw(st.sampled_from(forms))


_expressions = st.recursive(
    _comparison(),
    lambda inner: st.builds(lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=4,
)
_flat = {name: st.sampled_from(values) for name, values in _TYPES.items()}
_values = st.fixed_dictionaries({**_flat, "inner": st.fixed_dictionaries({k: _flat[k] for k in ("text", "number")})})


@given(expression=_expressions, value=_values)
def test_the_patterns_let_the_same_events_through(expression: str, value: dict[str, Any]) -> None:
    """For events whose fields are there and of the compared type, CEL and patterns are of one mind, whatever the expression."""
    try:
        found = lets_through(expression, value)
    except Untranslatable:
        return
    judge = Filter(f"{expression} && true")  # a field alone is no expression
    assert found == judge.matches(record(value)), patterns(expression)


def test_where_they_differ() -> None:
    """What the warning tells of: a missing field has no answer here, and does not match there; lists are looked into."""
    with pytest.raises(FilterEvaluationError):
        Filter("value.a > 1").matches(record({}))
    assert not lets_through("value.a > 1", {})
    assert not Filter("value.a == 'x'").matches(record({"a": ["x"]}))
    assert lets_through("value.a == 'x'", {"a": ["x"]})
