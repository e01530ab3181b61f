"""``where=``: a CEL expression that says which events a function is given.

The language is that of https://github.com/google/cel-spec: no loops without a bound, no access to Python,
regular expressions by RE2 (linear in the text). What an expression costs is the conversion of what it is
given, so it is given only the variables, and of ``value`` only the fields, that it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from cel_expr_python import cel

from dispatcher.core.record import Headers, Record
from dispatcher.errors import FilterError, FilterEvaluationError

__all__ = ["Filter"]

_VARIABLES: Final = {
    "value": cel.Type.DYN,
    "key": cel.Type.DYN,
    "headers": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "stream": cel.Type.STRING,
}

# The C++ conversion recurses without a limit of its own: 20,000 levels overflow the stack and end the process.
_MAX_DEPTH: Final = 256

_HINT: Final = "value.total > 100.0 or value.active == true"
_UNDECODED: Final[Any] = object()


class Filter:
    """A compiled expression over ``value``, ``key``, ``headers`` and ``stream``.

    ``value`` is the event's JSON. ``key`` is a string where the key's bytes are UTF-8, else bytes, and null
    for an event without one. ``headers`` maps a name to its last value, a string or bytes in the same way.
    ``stream`` is the topic.

    Args:
        expression: CEL, such as ``value.total > 100.0 && stream == "orders"``.

    Raises:
        FilterError: it does not compile, or does not give a boolean; the message points at the column.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._program = _compile(expression, tuple(_VARIABLES))
        kind = self._program.return_type()
        if kind != cel.Type.BOOL:
            given = (
                "whatever the event holds there" if kind == cel.Type.DYN else f"a value of type {kind.name().lower()}"
            )
            raise FilterError(f"where={expression!r} gives {given}, not true or false: compare it, as in {_HINT}")
        # Without a variable that it names, an expression does not compile: exact, where a search would be a guess.
        self._names = frozenset(name for name in _VARIABLES if not _compiles_without(expression, name))
        self._fields = _fields_of_value(expression) if "value" in self._names else None

    @property
    def needs_value(self) -> bool:
        """Whether the expression names ``value``; if not, :meth:`matches` does not need it decoded."""
        return "value" in self._names

    def matches(self, record: Record, value: Any = _UNDECODED) -> bool:
        """Whether the function is to be given this event.

        Args:
            record: the event.
            value: its value as JSON gives it; decoded here when it is left out and the expression names it.

        Raises:
            FilterEvaluationError: there is no answer: a field is missing or of another type, or the value is
                not JSON. ``has(value.field)`` in the expression tells a missing field apart.
        """
        data: dict[str, Any] = {}
        for name in self._names:
            if name == "value":
                data[name] = self._bind_value(record, value)
            elif name == "key":
                data[name] = _text(record.key)
            elif name == "headers":
                data[name] = _headers(record.headers)
            else:
                data[name] = record.topic
        try:
            answer = self._program.eval(data=data).value()
        except RuntimeError as error:
            raise self._no_answer(str(error)) from None
        if answer is True or answer is False:
            return answer
        raise self._no_answer(str(answer))

    def _bind_value(self, record: Record, value: Any) -> Any:
        if value is _UNDECODED:
            try:
                value = None if record.value is None else _decode(record.value.decode())
            except (ValueError, RecursionError) as error:
                raise self._no_answer(f"the value is not JSON: {error}") from None
        if self._fields is not None and isinstance(value, dict):
            value = {field: value[field] for field in self._fields if field in value}
        raw = record.value
        if (raw is None or raw.count(b"[") + raw.count(b"{") > _MAX_DEPTH) and _deeper_than(value, _MAX_DEPTH):
            raise self._no_answer(f"the value is nested more than {_MAX_DEPTH} levels deep")
        return value

    def _no_answer(self, reason: str) -> FilterEvaluationError:
        if len(reason) > 300:
            reason = f"{reason[:300]}..."
        return FilterEvaluationError(f"where={self.expression!r} has no answer for this event: {reason}")


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"there is no {constant} in JSON")


# As functions read it: UTF-8 alone, and no NaN, which would be left out by a filter without a word.
_decode: Final = json.JSONDecoder(parse_constant=_not_json).decode


def _compile(expression: str, names: tuple[str, ...]) -> cel.Expression:
    environment = cel.NewEnv(variables={name: _VARIABLES[name] for name in names})
    try:
        return environment.compile(expression)
    except RuntimeError as error:
        raise FilterError(_explain(expression, str(error))) from None


def _compiles_without(expression: str, name: str) -> bool:
    try:
        _compile(expression, tuple(other for other in _VARIABLES if other != name))
    except FilterError:
        return False
    return True


_LOCATED = re.compile(r"<input>:(\d+):(\d+): ([^\n]*)")


def _explain(expression: str, error: str) -> str:
    located = _LOCATED.search(error)
    if not located:
        reason = re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", error)
        return f"where={expression!r} does not compile: {reason}"
    line, column = int(located[1]), int(located[2])
    # The parser's list of all that it could have taken helps nobody.
    reason = re.sub(r" expecting \{.*", "", located[3])
    reason = reason.replace("'<EOF>'", "the end").replace(" (in container '')", "").removesuffix(" [INVALID_ARGUMENT]")
    if reason.startswith("undeclared reference"):
        reason += f"; there are {', '.join(_VARIABLES)}, and CEL's own functions"
    lines = expression.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    where = f"line {line}, column {column}" if len(lines) > 1 else f"column {column}"
    return f"where= does not compile at {where}: {reason}\n  {shown}\n  {' ' * (column - 1)}^"


_TOKEN = re.compile(
    r"""
      (?P<skip> \s+ | //[^\n]* )
    | (?P<string> [rRbB]{0,2} (?: \"{3} (?:\\.|.)*? \"{3} | '{3} (?:\\.|.)*? '{3}
                                | \" (?:\\.|[^\"\\])* \" | ' (?:\\.|[^'\\])* ' ) )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _fields_of_value(expression: str) -> frozenset[str] | None:
    """The fields of ``value`` that the expression names; None when it may look at any of them."""
    tokens = [(m.lastgroup, m[0]) for m in _TOKEN.finditer(expression) if m.lastgroup != "skip"]
    # A raw string ends otherwise than the tokens above suppose.
    if any(kind == "string" and text[0] in "rRbB" for kind, text in tokens):
        return None
    fields = set()
    for index, token in enumerate(tokens):
        if token != ("name", "value"):
            continue
        before = tokens[index - 1][1] if index else ""
        after = [text for _, text in tokens[index + 1 : index + 4]]
        field = tokens[index + 2] if len(after) > 1 else ("other", "")
        if before == "." or after[:1] != ["."] or field[0] != "name" or after[2:] == ["("]:
            return None
        fields.add(field[1])
    return frozenset(fields)


def _text(data: bytes | None) -> str | bytes | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _headers(headers: Headers) -> dict[str, str | bytes | None]:
    return {name: _text(value) for name, value in headers}


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True
