"""on_stream: declares which streams a function consumes, and under what policies."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Never, TypeVar

from bindings.binding import Binding
from bindings.errors import DeclarationError
from bindings.policies import Batch, DeadLetter, Limits, Ordering, Retry, StartAt
from bindings.signature import Signature, check_function

__all__ = ["bind", "bindings_of", "on_stream"]

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__dispatch_bindings__"
#: What a ``list[...]`` parameter gets without ``batch=``.
_LIST_BATCH = Batch(max_events=100, max_wait=0.5)

# An option's types, and how a value of another type would be written.
_OPTIONS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), 'name="check_limit"'),
    "order": ((str,), 'order="key", "partition" or "none"'),
    "batch": ((Batch,), "batch=Batch(max_events=100)"),
    "retry": ((Retry,), "retry=Retry(max_attempts=5)"),
    "concurrency": ((int, str), 'concurrency=16 or "auto"'),
    "max_concurrency": ((int,), "max_concurrency=256"),
    "timeout": ((int, float), "timeout=60.0"),
    "rate": ((int, float), "rate=100.0"),
    "where": ((str,), 'where="value.total > 100.0"'),
    "emits": ((str,), 'emits="limits.breached"'),
    "dead_letter": ((str, DeadLetter), 'dead_letter="orders.dead"'),
    "limits": ((Limits,), "limits=Limits(held_events=16_000)"),
    "start": ((str, datetime, timedelta), 'start="earliest", "latest", "-2h" or a datetime'),
}
_REQUIRED = ("order", "concurrency", "max_concurrency", "timeout", "start")


@dataclass(eq=False, slots=True)
class _Declaration:
    """What one decoration said. It is made a binding as soon as the function's annotations can be resolved."""

    function: Callable[..., Any]
    name: str
    streams: tuple[str, ...]
    options: Mapping[str, Any]
    names: Mapping[str, Any]
    binding: Binding | None = None

    def resolve(self) -> Binding:
        """Make the binding, once. Raises NameError while an annotation names what is not defined yet."""
        if self.binding is None:
            signature = Signature.of(self.function, self.names)
            options = dict(self.options)
            if signature.batch:
                options.setdefault("batch", _LIST_BATCH)
            try:
                self.binding = Binding(
                    function=self.function, name=self.name, streams=self.streams, signature=signature, **options
                )
            except ValueError as error:
                raise DeclarationError.at(self.function, error) from error
            self.names = {}
        return self.binding


def on_stream(
    *streams: str,
    name: str | None = None,
    order: Ordering = "key",
    batch: Batch | None = None,
    retry: Retry | None = None,
    concurrency: int | Literal["auto"] = 16,
    max_concurrency: int = 256,
    timeout: float = 60.0,
    rate: float | None = None,
    where: str | None = None,
    emits: str | None = None,
    dead_letter: str | DeadLetter | None = None,
    limits: Limits | None = None,
    start: StartAt = "earliest",
    **unknown: Never,
) -> Callable[[F], F]:
    """Declare that a function consumes streams. The function stays as it is, and callable.

    What the function is handed is decided by the annotation of its first parameter: a pydantic model, a
    dataclass, a TypedDict, ``dict``, ``bytes``, ``str`` or a msgspec struct; :class:`Event` of one of these
    for the key, the headers and the offset with it; ``list[...]`` of either for a batch; ``X | None`` to
    receive None for a record without a value. A parameter annotated :class:`Context` gets that.

    Args:
        streams: one or more topics.
        name: the function's name in its app; the Python function's own when it is not given. With the app's
            name it is the consumer group. A function that is decorated twice needs two.
        order: ``"key"``: events of one key run one after another; ``"partition"``: one invocation a partition
            at a time; ``"none"``.
        batch: how many events an invocation takes. A ``list[...]`` parameter has
            ``Batch(max_events=100, max_wait=0.5)``, any other takes one event.
        retry: attempts and waits of a failed event.
        concurrency: invocations in flight in one process, 1 to 10,000; ``"auto"`` finds how many the target takes before
            it slows down, which suits targets behind a network.
        max_concurrency: the ceiling of ``"auto"``.
        timeout: seconds an attempt may take.
        rate: invocations started a second at the most.
        where: a CEL expression over ``value``, ``key``, ``headers`` and ``stream``; other events are skipped.
        emits: the stream to which results are produced.
        dead_letter: the topic for events whose attempts are used up; ``<stream>.<function>.dead`` by default.
        limits: what the function may hold in memory in one process.
        start: where to begin when the consumer group has no commit: ``"earliest"``, ``"latest"``, a time, or
            a span back from now (a timedelta, ``"-2h"``).
        unknown: there are no others.

    Raises:
        DeclarationError: at import, when an option, the function or its annotations can't be used as they
            are; the message says where and what to write instead.
    """
    given = {
        "name": name,
        "order": order,
        "batch": batch,
        "retry": retry,
        "concurrency": concurrency,
        "max_concurrency": max_concurrency,
        "timeout": timeout,
        "rate": rate,
        "where": where,
        "emits": emits,
        "dead_letter": dead_letter,
        "limits": limits,
        "start": start,
    }
    if len(streams) == 1 and not isinstance(streams[0], str) and (callable(streams[0]) or _is_method(streams[0])):
        raise DeclarationError.at(streams[0], 'did you forget the parentheses? Write @on_stream("orders.enriched")')

    def decorate(function: F) -> F:
        check_function(function)
        try:
            _check_streams(streams)
            _check_options(given, unknown)
        except TypeError as error:
            raise DeclarationError.at(function, error) from None
        options = {option: value for option, value in given.items() if value is not None and option != "name"}
        if isinstance(dead_letter, str):
            try:
                options["dead_letter"] = DeadLetter(stream=dead_letter)
            except ValueError as error:
                raise DeclarationError.at(function, f"dead_letter: {error}") from error
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        names = {} if caller is None or caller.f_locals is caller.f_globals else dict(caller.f_locals)
        declaration = _Declaration(function, name or function.__name__, streams, options, names)
        earlier: tuple[_Declaration, ...] = vars(function).get(_ATTRIBUTE, ())
        if any(other.name == declaration.name for other in earlier):
            raise DeclarationError.at(
                function,
                f"it is decorated twice as {declaration.name!r}: give each @on_stream a name of its own with"
                ' name="...", since the name makes the consumer group; or name both streams in one @on_stream',
            )
        # A name may be defined further down the module: bindings_of() tries again.
        with contextlib.suppress(NameError):
            declaration.resolve()
        setattr(function, _ATTRIBUTE, (*earlier, declaration))
        return function

    return decorate


def bind(function: Callable[..., Any], *streams: str, name: str | None = None) -> Binding:
    """Make the binding of a function that has no decorator, with the policies that it has by default.

    Args:
        function: a plain function, annotated as for :func:`on_stream`.
        streams: one or more topics.
        name: the function's name in its app; the Python function's own when it is not given.

    Raises:
        DeclarationError: the function can't be bound so.
    """
    try:
        signature = Signature.of(function)
        batch = _LIST_BATCH if signature.batch else Batch()
        return Binding(
            function=function, name=name or function.__name__, streams=streams, signature=signature, batch=batch
        )
    except DeclarationError:
        raise
    except (ValueError, NameError) as error:
        raise DeclarationError.at(function, error) from error


def bindings_of(function: object) -> tuple[Binding, ...]:
    """Return the bindings that ``@on_stream`` attached to a function, the innermost first; empty for none.

    Raises:
        DeclarationError: an annotation names something that is not defined at run time, or can't be used.
    """
    declarations: tuple[_Declaration, ...] = getattr(function, _ATTRIBUTE, ())
    try:
        return tuple(declaration.resolve() for declaration in declarations)
    except NameError as error:
        where = f"{error.name!r}" if error.name else f"a name ({error})"
        raise DeclarationError.at(
            function,
            f"its annotations name {where}, which is not defined when the function runs: import or define it in the"
            " module, outside of `if TYPE_CHECKING:`",
        ) from error


def _is_method(value: object) -> bool:
    return isinstance(value, staticmethod | classmethod)


def _check_streams(streams: tuple[object, ...]) -> None:
    if not streams:
        raise TypeError('it consumes no stream: write @on_stream("orders.enriched")')
    for stream in streams:
        if isinstance(stream, list | tuple | set | frozenset):
            names = ", ".join(f'"{each}"' for each in stream)
            raise TypeError(f"streams are given one by one: @on_stream({names})")
        if not isinstance(stream, str):
            option = next((option for option, (types, _) in _OPTIONS.items() if types == (type(stream),)), None)
            mend = f": write {option}={stream!r}" if option and not isinstance(stream, int) else ""
            raise TypeError(f"{stream!r} is not the name of a stream; options are given by name{mend}")


def _check_options(given: Mapping[str, object], unknown: Mapping[str, object]) -> None:
    for option in unknown:
        near = difflib.get_close_matches(option, _OPTIONS, 1)
        hint = f": did you mean {near[0]}=?" if near else "."
        raise TypeError(f"on_stream has no option {option}={hint} Its options are {', '.join(_OPTIONS)}")
    for option, value in given.items():
        types, example = _OPTIONS[option]
        if value is None and option not in _REQUIRED:
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            raise TypeError(f"{option}={value!r} is of type {type(value).__name__}: write {example}")
