"""What the annotations of a function say, and which functions are refused."""

# ruff: noqa: D103 - the functions are the data

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from event_types import Data, Model, Struct, Typed

from bindings import Context, DeclarationError, Event
from bindings.calling import caller_of, is_direct, item_of
from bindings.signature import Signature

if TYPE_CHECKING:
    from decimal import Decimal

Ctx = Context


class Record(NamedTuple):
    value: bytes | None
    topic: str = "orders"
    partition: int = 3
    offset: int = 7
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"k"
    headers: tuple[tuple[str, bytes | None], ...] = (("a", b"1"), ("a", None))


async def takes_model(order: Model) -> None: ...
def takes_data(order: Data) -> Data: ...
def takes_typed(order: Typed) -> None: ...
def takes_struct(order: Struct) -> None: ...
def takes_dict(order: dict[str, Any]): ...
def takes_bytes(order: bytes, dry: bool = False, *rest: int, **more: int): ...
def takes_event(order: Event[Model]): ...
def takes_batch(orders: list[Event[Model | None]], context: Context): ...
def takes_texts(context: Context, texts: list[str]): ...
def takes_optional(order: dict | None, *, context: Ctx | None = None): ...


def test_shapes_are_read():
    """Batch, event, null and the Python type are told apart, the annotations being texts."""
    read = {
        function: Signature.of(function)
        for function in (takes_model, takes_data, takes_bytes, takes_event, takes_batch, takes_texts, takes_optional)
    }
    assert [signature.type_name for signature in read.values()] == [
        "Model",
        "Data",
        "bytes",
        "Event[Model]",
        "list[Event[Model | None]]",
        "list[str]",
        "dict | None",
    ]
    assert [function for function, signature in read.items() if signature.batch] == [takes_batch, takes_texts]
    assert [function for function, signature in read.items() if signature.wants_event] == [takes_event, takes_batch]
    assert [function for function, signature in read.items() if signature.optional] == [takes_batch, takes_optional]
    assert [function for function, signature in read.items() if signature.is_async] == [takes_model]
    assert [function for function, signature in read.items() if signature.returns] == [takes_data]
    assert read[takes_batch].parameter == "orders"
    assert [read[f].context for f in (takes_batch, takes_texts, takes_optional)] == ["context"] * 3
    assert [function for function, signature in read.items() if signature.context_first] == [takes_texts]


@pytest.mark.parametrize("function", [takes_model, takes_data, takes_typed, takes_struct, takes_dict, takes_bytes])
def test_null_is_a_value_error_with_the_mend(function):
    """A tombstone does not reach a function that did not ask for None."""
    with pytest.raises(ValueError, match=r"the value is null.*annotate `X \| None`"):
        Signature.of(function).decode(None)


def test_null_reaches_a_function_that_takes_none():
    """`X | None` is handed None for a record without a value, and for the JSON null."""
    assert Signature.of(takes_optional).decode(None) is None
    assert Signature.of(takes_optional).decode(b"null") is None
    assert Signature.of(takes_optional).decode(b"{}") == {}
    assert Signature.of(takes_batch).decode(None) is None


def test_null_text_is_a_text():
    """For `bytes | None` and `str | None` the four letters are not a null."""

    def takes(text: str | None): ...

    assert Signature.of(takes).decode(b"null") == "null"
    assert Signature.of(takes).decode(None) is None


def test_fast_decoder_is_the_validator_itself():
    """The dispatcher can call pydantic's C method with nothing between."""
    assert Signature.of(takes_model).decode_bytes == Model.__pydantic_validator__.validate_json


def test_event_carries_the_record():
    """`Event[...]` has the decoded value and all of the record."""
    record = Record(b'{"name": "x", "total": 1}')
    event = item_of(Signature.of(takes_event), record)
    assert isinstance(event, Event)
    assert event.value == Model(name="x", total=1)
    assert (event.key, event.stream, event.partition, event.offset) == (b"k", "orders", 3, 7)
    assert event.raw == record.value
    assert event.id == "orders/3/7"
    assert event.headers == record.headers
    assert event.header("a") is None
    assert event.header("missing") is None
    assert event.timestamp.isoformat() == "2023-11-14T22:13:20+00:00"
    assert event != item_of(Signature.of(takes_event), record)


def test_context_is_passed_wherever_it_stands():
    """Before the event, after it, by keyword: each function gets both where it wants them."""

    def first(context: Context, order: dict):
        return ("first", context, order)

    def last(order: dict, dry: bool = False, context: Context = None):
        return ("last", context, order)

    def keyword(order: dict, *, context: Context):
        return ("keyword", context, order)

    def without(order: dict):
        return ("without", None, order)

    def positional(context: Context, order: dict, /):
        return ("positional", context, order)

    for function in (first, last, keyword, without, positional):
        signature = Signature.of(function)
        context = object() if signature.context else None
        assert caller_of(function, signature)({}, context) == (function.__name__, context, {})
        assert is_direct(signature) is (function is without)


def test_alias_of_context_is_recognised():
    """Context is recognised by what it is, not by its spelling."""
    assert Signature.of(takes_optional).context == "context"


def test_names_of_the_return_annotation_need_not_exist():
    """A return type that is imported for type checkers alone stops nothing."""

    def function(order: dict) -> Decimal: ...

    assert Signature.of(function).returns


def test_wrapped_function_is_read_by_what_it_wraps():
    """A decorator below that uses functools.wraps does not hide the annotations."""

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert Signature.of(logged(takes_data)).type_name == "Data"
    with pytest.raises(DeclarationError, match="make the wrapper async def"):
        Signature.of(logged(takes_model))


def nothing(): ...
def only_context(context: Context): ...
def unannotated(order): ...
def anything(order: Any): ...
def whole(order: int): ...
def lists(order: list[list[dict]]): ...
def bare_list(order: list): ...
def bare_event(order: Event): ...
def union(order: Model | Data): ...
def optional_list(order: list[dict] | None): ...
def event_of_list(order: Event[list[dict]]): ...
def optional_event(order: Event[dict] | None): ...
def two(order: dict, second: dict): ...
def two_contexts(order: dict, context: Context, other: Context): ...
def by_keyword(*, order: dict): ...
def context_by_position(order: dict, context: Context, /): ...
def generator(order: dict) -> Iterator[dict]:
    yield order


async def async_generator(order: dict) -> AsyncIterator[dict]:
    yield order


class Class:
    def __init__(self, order: dict): ...
    def method(self, order: dict): ...
    @staticmethod
    def static(order: dict): ...
    def __call__(self, order: dict): ...


@pytest.mark.parametrize(
    ("function", "mend"),
    [
        (nothing, "no parameter takes the event"),
        (only_context, "no parameter takes the event"),
        (unannotated, "annotate order: a function takes a pydantic model"),
        (anything, "write dict or bytes"),
        (whole, "int is not a type that events are decoded to"),
        (lists, r"list\[Event\[X \| None\]\]"),
        (bare_list, "list of what"),
        (bare_event, r"Event\[bytes\]"),
        (union, "RootModel"),
        (optional_list, "in this order"),
        (event_of_list, "in this order"),
        (optional_event, "in this order"),
        (two, "nobody passes second: give it a default"),
        (two_contexts, "both take the Context"),
        (by_keyword, r"remove the \*"),
        (context_by_position, "before the /"),
        (generator, r"it yields: return a list.*context\.emit"),
        (async_generator, "it yields"),
        (Class, "it is a class"),
        (Class.method, "it is a method"),
        (Class({}).method, "it is a method"),
        (Class.static, "it is a method"),
        (vars(Class)["static"], "it is a method"),
        (Class({}), "it is a Class: decorate a function"),
        (functools.partial(two, second={}), "it is a partial"),
        (lambda order: order, "it is a lambda"),
        (print, "it is a builtin_function_or_method"),
    ],
)
def test_other_functions_are_refused(function, mend):
    """What can't be handed events is refused with what to write instead."""
    with pytest.raises(DeclarationError, match=mend):
        Signature.of(function)


def test_refusal_says_where():
    """The message begins with the file, the line and the name of the function."""
    with pytest.raises(DeclarationError) as caught:
        Signature.of(union)
    line = union.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{__file__}:{line}: union: ")
