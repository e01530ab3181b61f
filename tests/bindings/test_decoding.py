"""Bytes become what the annotation says, or a ValueError: never another error, never a crash."""

import sys
import typing
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from event_types import Data, Model, Struct, Typed
from pydantic import BaseModel, Field

from bindings.decoding import Unsupported, decoder_of, type_name

GOOD = b'{"name": "caf\xc3\xa9", "total": 1.5}'
PLAIN = {"name": "café", "total": 1.5}

VALUES = {
    Model: Model(**PLAIN),
    Data: Data(**PLAIN),
    Typed: PLAIN,
    dict: PLAIN,
    dict[str, Any]: PLAIN,
    dict[str, str | float]: PLAIN,
    Struct: Struct(**PLAIN),
    str: GOOD.decode(),
    bytes: GOOD,
}

JSON_KINDS = [kind for kind in VALUES if kind not in (str, bytes)]

DEEP = 200_000
BAD = {
    "brackets": b"[" * DEEP + b"]" * DEEP,
    "open brackets": b"[" * DEEP,
    "braces": b'{"a":' * DEEP,
    "brackets in a field": b'{"name": "x", "total": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "brackets in an unknown field": b'{"name": "x", "total": 1, "more": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "NaN": b'{"name": "x", "total": NaN}',
    "Infinity": b'{"name": "x", "total": -Infinity}',
    "lone surrogate": b'{"name": "\\ud800", "total": 1}',
    "encoded surrogate": b'{"name": "\xed\xa0\x80", "total": 1}',
    "invalid UTF-8": b'{"name": "\xff", "total": 1}',
    "UTF-16": '{"name": "x", "total": 1}'.encode("utf-16"),
    "huge number": b'{"name": "x", "total": 1, "more": ' + b"9" * 5_000_000 + b"}",
    "huge, cut off": b'{"name": "' + b"x" * 20_000_000,
    "empty": b"",
    "null": b"null",
    "array": b"[1]",
    "text": b'"text"',
    "two values": GOOD + GOOD,
}


@pytest.mark.parametrize("kind", VALUES, ids=type_name)
def test_good_bytes_become_the_type(kind):
    """Each kind of annotation is handed a value of its type, equal to what was sent."""
    value = decoder_of(kind)(GOOD)
    assert value == VALUES[kind]
    assert type(value) is type(VALUES[kind])


# msgspec passes over an unknown field without reading the number in it.
@pytest.mark.parametrize(
    ("kind", "bad"), [(kind, bad) for kind in JSON_KINDS for bad in BAD if (kind, bad) != (Struct, "huge number")]
)
def test_bad_bytes_are_a_value_error(kind, bad):
    """What is not JSON of that shape is a ValueError for every kind."""
    with pytest.raises(ValueError):
        decoder_of(kind)(BAD[bad])


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xed\xa0\x80", b"caf\xc3"])
def test_text_is_strict_utf8(raw):
    """A `str` function is never handed text with holes in it."""
    with pytest.raises(ValueError):
        decoder_of(str)(raw)


def test_huge_good_value_is_decoded():
    """A value of 20 MB is a value like any other."""
    raw = b'{"name": "' + b"x" * 20_000_000 + b'", "total": 1}'
    assert all(len(decoder_of(kind)(raw)["name"]) == 20_000_000 for kind in (dict, Typed))


@pytest.mark.parametrize("kind", [Data, Typed, dict[str, float], Struct], ids=type_name)
def test_text_is_not_taken_for_a_number(kind):
    """Dataclasses, TypedDicts, dicts and structs are decoded strictly by their annotation."""
    with pytest.raises(ValueError):
        decoder_of(kind)(b'{"name": "x", "total": "1.5"}')


def test_nan_inside_a_text_is_a_text():
    """Only the number NaN is refused, not a value that speaks of it."""
    raw = b'{"name": "NaN and Infinity", "total": 1}'
    assert decoder_of(Data)(raw) == Data("NaN and Infinity", 1)
    assert decoder_of(dict)(raw)["name"] == "NaN and Infinity"


def test_model_is_decoded_by_its_own_validator():
    """The hot path of a pydantic model is the C method itself, with nothing around it."""
    assert decoder_of(Model) == Model.__pydantic_validator__.validate_json


def test_constraints_in_an_annotation_hold():
    """`Annotated` is not thrown away, and is refused where it could not be kept."""
    decode = decoder_of(dict[str, Annotated[int, Field(gt=0)]])
    assert decode(b'{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError):
        decode(b'{"a": 0}')
    with pytest.raises(Unsupported, match="would not be checked"):
        decoder_of(Annotated[str, Field(max_length=3)])


def test_generic_types_are_decoded_by_their_arguments():
    """A generic model's parameter is part of the annotation."""
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class Envelope(BaseModel, Generic[T]):
        payload: T

    assert decoder_of(Envelope[int])(b'{"payload": 3}').payload == 3
    with pytest.raises(ValueError):
        decoder_of(Envelope[int])(b'{"payload": "x"}')


def test_a_dataclass_inside_a_dataclass_is_built():
    """Decoding builds the whole tree, not a dict in a dataclass."""

    @dataclass
    class Basket:
        lines: list[Data]

    Basket.__annotations__["lines"] = list[Data]
    assert decoder_of(Basket)(b'{"lines": [' + GOOD + b"]}") == Basket([Data(**PLAIN)])


@pytest.mark.parametrize("kind", [int, float, set, tuple[int, int], object, dict[int, str], BaseModel, complex, type])
def test_other_types_are_refused(kind):
    """What pydantic could decode but a function is not to take is refused, with what it may take."""
    with pytest.raises(Unsupported):
        decoder_of(kind)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes both kinds from Python 3.12 on")
def test_typed_dict_of_an_old_python_is_refused_with_the_mend():
    """On Python 3.11 the message says which TypedDict to import."""

    class Old(typing.TypedDict):
        n: int

    with pytest.raises(Unsupported, match=r"use `typing_extensions\.TypedDict`.*It comes with pydantic"):
        decoder_of(Old)
