"""From a function's annotations to how its events are decoded and passed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from bindings.decoding import TAKES, Unsupported, decoder_of, null_value, type_name
from bindings.errors import DeclarationError
from bindings.event import Context, Event

__all__ = ["Signature"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """How one function takes its events.

    Attributes:
        parameter: the name of the parameter that takes the event or the batch.
        batch: the parameter is a ``list[...]``.
        wants_event: it takes :class:`~bindings.event.Event` rather than the bare value.
        context: the name of the parameter that takes the :class:`~bindings.event.Context`, or None.
        context_first: the context comes before the event.
        is_async: the function is a coroutine function.
        returns: the function is annotated to return something other than None.
        decode: from a record's value to what the function takes; raises ``ValueError`` (pydantic's and
            msgspec's errors are its children) when the bytes are not that. A validator of the user's own
            may raise anything.
        decode_bytes: the same for a value that is not None, without the check: 60 ns less an event.
            For a pydantic model it is the validator's own C method.
        type_name: the annotation as a person would write it, for lists and manifests.
        optional: None is passed for a record without a value.
        value_type: the type of one event's value, taken out of ``list[Event[X | None]]``.
    """

    parameter: str
    batch: bool
    wants_event: bool
    context: str | None
    context_first: bool
    is_async: bool
    returns: bool
    decode: Callable[[bytes | None], Any]
    decode_bytes: Callable[[bytes], Any]
    type_name: str
    optional: bool = False
    value_type: Any = None

    @classmethod
    def of(cls, function: Callable[..., Any], names: Mapping[str, Any] | None = None) -> Self:
        """Read the signature of a function.

        Args:
            function: a plain sync or async function.
            names: what the annotations may name beyond the globals of the function's module.

        Raises:
            DeclarationError: the function, or a parameter, is of a kind that can't be handed events.
            NameError: an annotation names what is not defined yet.
        """
        check_function(function)
        try:
            return cls._of(function, names)
        except Unsupported as error:
            raise DeclarationError.at(function, error) from error

    @classmethod
    def _of(cls, function: Callable[..., Any], names: Mapping[str, Any] | None) -> Self:
        parameters = list(inspect.signature(function).parameters.values())
        event, context = _split(parameters, lambda parameter: _resolve(function, parameter.annotation, names))
        if event is None:
            raise Unsupported(f"no parameter takes the event; {TAKES}")
        if event.annotation is event.empty:
            raise Unsupported(f"annotate {event.name}: {TAKES}")
        shape = _Shape.of(_resolve(function, event.annotation, names))
        decode_bytes = decoder_of(shape.value)
        decode = _with_null(decode_bytes, shape)
        return cls(
            parameter=event.name,
            batch=shape.batch,
            wants_event=shape.wants_event,
            context=context.name if context else None,
            context_first=context is not None and parameters.index(context) < parameters.index(event),
            is_async=inspect.iscoroutinefunction(function),
            returns=inspect.signature(function).return_annotation
            not in (inspect.Signature.empty, None, types.NoneType, "None"),
            decode=decode,
            decode_bytes=decode if shape.optional else decode_bytes,
            type_name=shape.name,
            optional=shape.optional,
            value_type=shape.value,
        )


def check_function(function: object) -> None:
    """Refuse what is not a plain function, saying what to write instead.

    Raises:
        DeclarationError: it is a class, a lambda, a method, a generator function or another callable.
    """
    problem = None
    if isinstance(function, type):
        problem = "it is a class: decorate a function"
    elif isinstance(function, staticmethod | classmethod | types.MethodType):
        problem = "it is a method: decorate a function at the top of a module, and call the method from it"
    elif not isinstance(function, types.FunctionType):
        problem = f"it is a {type(function).__name__}: decorate a function written with def or async def"
    elif function.__name__ == "<lambda>":
        problem = "it is a lambda: write it with def, so that it has a name and annotations"
    elif function.__qualname__.rpartition(".")[0] and not function.__qualname__.rpartition(".")[0].endswith("<locals>"):
        problem = "it is a method: decorate a function at the top of a module, and call the method from it"
    else:
        inner = inspect.unwrap(function)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            problem = "it yields: return a list of results, or call context.emit(...) for each"
        elif inspect.iscoroutinefunction(inner) and not inspect.iscoroutinefunction(function):
            problem = "an async function is wrapped in a sync one by another decorator: make the wrapper async def"
    if problem:
        raise DeclarationError.at(function, problem)


def _split(
    parameters: list[inspect.Parameter], resolve: Callable[[inspect.Parameter], Any]
) -> tuple[inspect.Parameter | None, inspect.Parameter | None]:
    """Tell the event's and the context's parameter from those that nobody fills."""
    event = context = None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if _is_context(parameter, resolve):
            if context is not None:
                raise Unsupported(f"{context.name} and {parameter.name} both take the Context: keep one")
            if event is not None and parameter.kind is parameter.POSITIONAL_ONLY:
                raise Unsupported(f"{parameter.name} is passed by name: move it before the /")
            context = parameter
        elif event is None:
            if parameter.kind is parameter.KEYWORD_ONLY:
                raise Unsupported(f"{parameter.name} takes the event, which is passed by position: remove the *")
            event = parameter
        elif parameter.default is parameter.empty:
            raise Unsupported(
                f"nobody passes {parameter.name}: give it a default, or annotate it Context if it takes the context"
            )
    return event, context


def _is_context(parameter: inspect.Parameter, resolve: Callable[[inspect.Parameter], Any]) -> bool:
    if parameter.annotation is parameter.empty:
        return False
    annotation = resolve(parameter)
    return annotation is Context or _without_none(annotation) is Context


def _resolve(function: Callable[..., Any], annotation: Any, names: Mapping[str, Any] | None) -> Any:
    """Evaluate an annotation, and the forward references inside it."""
    namespace = inspect.unwrap(function).__globals__
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        resolved = get_type_hints(holder, namespace, dict(names or {}), include_extras=True)["it"]
    except NameError:
        raise
    except Exception as error:
        raise Unsupported(f"the annotation {annotation!r} can't be read: {error}") from error
    while type(resolved).__name__ == "TypeAliasType":
        resolved = resolved.__value__
    return resolved


def _without_none(annotation: Any) -> Any:
    """``X`` for ``X | None``, else the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not types.NoneType]
        if len(others) == 1:
            return others[0]
    return annotation


@dataclass(frozen=True, slots=True)
class _Shape:
    """An annotation taken apart: ``list[Event[value | None]]``."""

    batch: bool
    wants_event: bool
    optional: bool
    value: Any
    name: str

    @classmethod
    def of(cls, annotation: Any) -> Self:
        item, batch, wants_event = annotation, False, False
        if annotation is list:
            raise Unsupported(f"list of what? {TAKES}")
        if get_origin(item) is list:
            (item,), batch = get_args(item), True
        if item is Event:
            raise Unsupported(f"Event of what? Write Event[bytes] for the raw value; {TAKES}")
        if get_origin(item) is Event:
            (item,), wants_event = get_args(item), True
        value = _without_none(item)
        if get_origin(value) in (list, Event) or value is Event:
            raise Unsupported(f"{type_name(annotation)}: write list[Event[X | None]], in this order; {TAKES}")
        if value is Any or value is object:
            raise Unsupported(f"{type_name(annotation)} says nothing of the value: write dict or bytes; {TAKES}")
        if get_origin(value) in (Union, types.UnionType):
            raise Unsupported(f"{type_name(value)}: wrap a union in a pydantic RootModel; {TAKES}")
        return cls(batch, wants_event, value is not item, value, type_name(annotation))


def _with_null(decode_bytes: Callable[[bytes], Any], shape: _Shape) -> Callable[[bytes | None], Any]:
    if not shape.optional:

        def decode(raw: bytes | None) -> Any:
            if raw is None:
                raise null_value()
            return decode_bytes(raw)

        return decode

    is_json = shape.value not in (bytes, str)

    def decode_optional(raw: bytes | None) -> Any:
        if raw is None or (is_json and raw == b"null"):
            return None
        return decode_bytes(raw)

    return decode_optional
