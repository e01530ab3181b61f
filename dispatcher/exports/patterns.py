"""``where=`` as the filter patterns of AWS Lambda's event source mappings, where both say the same.

A mapping filters by EventBridge patterns on the event's value
(https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html): a pattern is an AND over fields, a list of
patterns an OR. So an expression is brought into that form, a disjunction of conjunctions of comparisons of one field
with constants. What is beyond it (keys, headers, arithmetic, fields compared with fields) is not translated at all:
half a filter would give the function events that it is not made for, or keep some from it.

The two agree on events whose fields are there and are single values of the type that they are compared with. Patterns look
into lists, and take a missing field for one that does not match, where CEL has no answer and the event is a dead letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["MAX_FILTERS", "Untranslatable", "patterns"]

#: Patterns of one mapping, without a raised quota.
MAX_FILTERS = 5
_MAX_PATTERN = 4096
#: EventBridge compares numbers in this range, to six decimals.
_MAX_NUMBER = 5e9
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number> -?(?:\d+\.\d+|\d+)(?:[eE][+-]?\d+)?(?![\w.]) )
    | (?P<string> "[^"\\\n]*" | '[^'\\\n]*' )
    | (?P<name> [A-Za-z_]\w* )
    | (?P<symbol> && | \|\| | [=!<>]= | [<>!().,\[\]] )
    )""",
    re.VERBOSE,
)
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

#: A field's path below the event, and what its value must be.
_Conjunction = dict[tuple[str, ...], list[Any]]


class Untranslatable(Exception):
    """Raised when a pattern can't say what the expression does; the message says which part."""


class _Token(NamedTuple):
    kind: str
    text: str


def patterns(expression: str) -> list[dict[str, Any]]:
    """The patterns that together let the same events through: an event goes through when one of them matches.

    Args:
        expression: CEL that compiles, as in ``where=``.

    Raises:
        Untranslatable: patterns can't say the same, or it would take more than :data:`MAX_FILTERS`.
    """
    found = [_as_tree(each) for each in _Parser(expression).whole()]
    if any(len(json.dumps(each)) > _MAX_PATTERN for each in found):
        raise Untranslatable(f"a pattern has {_MAX_PATTERN:,} characters at most")
    return found


class _Parser:
    """Reads the part of CEL that patterns can say, into a disjunction of conjunctions."""

    def __init__(self, expression: str) -> None:
        self._tokens = list(_tokens(expression))
        self._at = 0

    def whole(self) -> list[_Conjunction]:
        found = self._either()
        if self._peek() is not None:
            raise Untranslatable(f"{self._here()} is not understood there")
        return found

    def _either(self) -> list[_Conjunction]:
        found = self._both()
        while self._skip("||"):
            found = [*found, *self._both()]
        return _few(found)

    def _both(self) -> list[_Conjunction]:
        found = self._term()
        while self._skip("&&"):
            found = _few([_merged(left, right) for right in self._term() for left in found])
        return found

    def _term(self) -> list[_Conjunction]:
        if self._skip("("):
            found = self._either()
            self._expect(")")
            return found
        if self._skip("!"):
            if self._peek() == _Token("name", "has"):
                return [{self._has(): [{"exists": False}]}]
            return [{self._path(): [False]}]
        if self._peek() == _Token("name", "has"):
            return [{self._has(): [{"exists": True}]}]
        return [self._comparison()]

    def _has(self) -> tuple[str, ...]:
        self._expect("has")
        self._expect("(")
        path = self._path()
        self._expect(")")
        return path

    def _comparison(self) -> _Conjunction:
        if self._is_constant():
            constant, operator = self._constant(), self._operator()
            return {self._path(): [_matcher(_MIRRORED[operator], constant)]}
        path = self._path()
        if path[-1] in {"startsWith", "endsWith"} and self._skip("("):
            text = self._constant()
            self._expect(")")
            if not isinstance(text, str) or not text:
                raise Untranslatable(f"{path[-1]}() of anything but a text")
            return {_below_value(path[:-1]): [{"prefix" if path[-1] == "startsWith" else "suffix": text}]}
        if self._skip("in"):
            return {path: [_matcher("==", constant) for constant in self._constants()]}
        if self._peek() is None or self._peek() in {_Token("symbol", mark) for mark in ("&&", "||", ")")}:
            return {path: [True]}
        operator = self._operator()
        return {path: [_matcher(operator, self._constant())]}

    def _path(self) -> tuple[str, ...]:
        parts = [self._name()]
        while self._skip("."):
            parts.append(self._name())
        return _below_value(tuple(parts))

    def _constants(self) -> list[Any]:
        self._expect("[")
        found = [self._constant()]
        while self._skip(","):
            found.append(self._constant())
        self._expect("]")
        return found

    def _is_constant(self) -> bool:
        token = self._peek()
        return token is not None and (token.kind in {"number", "string"} or token.text in {"true", "false", "null"})

    def _constant(self) -> Any:
        if not self._is_constant():
            raise Untranslatable(f"{self._here()} is no constant")
        token = self._next()
        if token.kind == "string":
            return token.text[1:-1]
        if token.kind == "number":
            number = int(token.text) if token.text.lstrip("-").isdigit() else float(token.text)
            if not abs(number) <= _MAX_NUMBER or round(number, 6) != number:
                raise Untranslatable(f"{token.text} is beyond the numbers that are compared there")
            return number
        return {"true": True, "false": False, "null": None}[token.text]

    def _operator(self) -> str:
        token = self._peek()
        if token is None or token.text not in _MIRRORED:
            raise Untranslatable(f"{self._here()} is no comparison")
        return self._next().text

    def _name(self) -> str:
        token = self._peek()
        if token is None or token.kind != "name" or token.text in {"true", "false", "null", "in"}:
            raise Untranslatable(f"{self._here()} is no field")
        return self._next().text

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _skip(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.kind == "string" or token.text != text:
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise Untranslatable(f"{self._here()} where {text!r} is expected")

    def _here(self) -> str:
        token = self._peek()
        return "the end" if token is None else repr(token.text)


def _tokens(expression: str) -> Iterator[_Token]:
    at = 0
    while expression[at:].strip():
        found = _TOKEN.match(expression, at)
        if found is None or found.lastgroup is None:
            raise Untranslatable(f"{expression[at:].strip()[:20]!r} has no counterpart")
        yield _Token(found.lastgroup, found[found.lastgroup])
        at = found.end()


def _below_value(path: tuple[str, ...]) -> tuple[str, ...]:
    if path[0] != "value":
        raise Untranslatable(f"{path[0]}: patterns look at the value alone")
    if len(path) < 2:
        raise Untranslatable("the value as a whole: patterns look at its fields")
    return path


def _matcher(operator: str, constant: Any) -> Any:
    is_number = isinstance(constant, int | float) and not isinstance(constant, bool)
    if operator == "==":
        return {"numeric": ["=", constant]} if is_number else constant
    if operator == "!=" and isinstance(constant, str):
        return {"anything-but": [constant]}
    if operator == "!=" and isinstance(constant, bool):
        return not constant
    if is_number and operator != "!=":
        return {"numeric": [operator, constant]}
    raise Untranslatable(f"{operator} {json.dumps(constant)} has no counterpart")


def _few(found: list[_Conjunction]) -> list[_Conjunction]:
    if len(found) > MAX_FILTERS:
        raise Untranslatable(f"it would take more than {MAX_FILTERS} patterns")
    return found


def _merged(left: _Conjunction, right: _Conjunction) -> _Conjunction:
    merged = dict(left)
    for path, wanted in right.items():
        merged[path] = _of_both(merged[path], wanted, path) if path in merged else wanted
    return merged


def _of_both(left: list[Any], right: list[Any], path: tuple[str, ...]) -> list[Any]:
    """What a field must be to be what both say. A comparison is true of a field that is there alone."""
    there, missing = [{"exists": True}], [{"exists": False}]
    if left == right or (left == there and right != missing):
        return right
    if right == there and left != missing:
        return left
    bounds = [
        each["numeric"] for side in (left, right) for each in side if isinstance(each, dict) and "numeric" in each
    ]
    if len(left) == len(right) == 1 and len(bounds) == 2:
        (low, *more), (high, *others) = sorted(bounds, key=lambda bound: bound[0], reverse=True)
        if len(more) == len(others) == 1 and low in {">", ">="} and high in {"<", "<="}:
            return [{"numeric": [low, *more, high, *others]}]
    raise Untranslatable(f"{'.'.join(path)} is asked for twice in one AND")


def _as_tree(conjunction: _Conjunction) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, wanted in conjunction.items():
        at = tree
        for part in path[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise Untranslatable(f"{'.'.join(path)}: a field of what is compared itself")
        if path[-1] in at:
            raise Untranslatable(f"{'.'.join(path)} is compared itself, and a field of it too")
        at[path[-1]] = wanted
    return tree
