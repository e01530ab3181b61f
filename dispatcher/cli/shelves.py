"""Which dead letters a command means: its options, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dispatcher.cli.options import app_name, app_option, broker_option, functions, same_app, together
from dispatcher.cli.output import talk
from dispatcher.cli.when import moment
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.config.functions import Function
    from dispatcher.deadletters import Selection, Shelf

__all__ = [
    "filter_options",
    "filter_words",
    "find_function",
    "function_named",
    "letter_option",
    "rest_of",
    "resumable_shelf_options",
    "selection_of",
    "shelf_for",
    "shelf_of",
    "shelf_options",
    "tell_unanswered",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Of our own, and the programs whose letters are read too.
_REASONS = ("attempts", "expired", "not_retryable", "rejected", "oversize", "spring", "connect")


def _shelf_options(function: Callable[[Any], Any]) -> Callable[[F], F]:
    return together(
        function,
        click.argument("app", nargs=-1, metavar="[APP]..."),
        click.option(
            "--stream",
            multiple=True,
            metavar="TOPIC",
            help="The dead-letter topic; then FN is only a name, and no code is read. May be given again.",
        ),
        broker_option,
        app_option,
    )


shelf_options = _shelf_options(click.argument("function", metavar="FN"))
#: The same for a command that may go on with what was begun before, and then needs no function.
resumable_shelf_options = _shelf_options(click.argument("function", metavar="[FN]", required=False))

filter_options = together(
    click.option("--since", type=moment, metavar="TIME", help="Dead since then: -2h, or an ISO 8601 time."),
    click.option("--until", type=moment, metavar="TIME", help="Dead before then."),
    click.option("--reason", multiple=True, type=click.Choice(_REASONS), help="Why. May be given again."),
    click.option("--error", multiple=True, metavar="TYPE", help="The error's type. May be given again."),
    click.option(
        "--fingerprint",
        multiple=True,
        metavar="ID",
        help="Of one cause, as `dispatch errors list` names it; its first digits do. May be given again.",
    ),
    click.option("--key", metavar="KEY", help="The event's key."),
    click.option("--where", metavar="CEL", help='Over the original event: "value.total > 100.0".'),
)


def letter_option(command_: F) -> F:
    return click.option(
        "--letter", multiple=True, metavar="[TOPIC/]P@OFFSET", help="This one, as list names it. May be given again."
    )(command_)


def function_named(name: str, targets: tuple[str, ...]) -> Binding:
    """The binding of :func:`find_function`, which says what is raised."""
    return find_function(name, targets).binding


def find_function(name: str, targets: tuple[str, ...]) -> Function:
    """The function of that name in the targets, with its target.

    Raises:
        click.UsageError: there is none; the message names those that there are.
    """
    found = {function.binding.name: function for function in functions(targets)}
    if name in found:
        return found[name]
    import difflib

    near = difflib.get_close_matches(name, found)
    meant = f": did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(sorted(found))}"
    raise click.UsageError(f"there is no function {name}{meant}")


def shelf_of(function: str, app: tuple[str, ...], topics: tuple[str, ...], name: str | None) -> Shelf:
    from dispatcher.deadletters import Shelf

    group = app_name(app, name)
    if topics:
        # Whoever names the topic says whose letters are in it: another program's name no function.
        return Shelf(app=group, function=function, topics=topics, adopts=True)
    try:
        binding = function_named(function, app)
    except click.UsageError as error:
        raise click.UsageError(
            f"{error.message}\n--stream TOPIC names its dead letters where its code is not"
        ) from None
    return shelf_for(group, binding)


def shelf_for(app: str, binding: Binding) -> Shelf:
    """Where the dead letters of a function whose code is at hand rest."""
    from dispatcher.deadletters import Shelf

    rests = tuple(dict.fromkeys(binding.dead_letter_topic(stream) for stream in binding.streams))
    return Shelf(app=app, function=binding.name, topics=rests, streams=binding.streams)


def selection_of(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    reason: tuple[str, ...] = (),
    error: tuple[str, ...] = (),
    fingerprint: tuple[str, ...] = (),
    key: str | None = None,
    where: str | None = None,
    letter: tuple[str, ...] = (),
) -> Selection:
    from dispatcher.deadletters import Selection
    from dispatcher.filters import Filter

    return Selection(
        since_ms=None if since is None else int(since.timestamp() * 1000),
        until_ms=None if until is None else int(until.timestamp() * 1000),
        reasons=reason,
        errors=error,
        fingerprints=tuple(map(str.lower, fingerprint)),
        key=None if key is None else key.encode(),
        where=None if where is None else Filter(where),
        places=frozenset(letter),
    )


def filter_words(filters: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that say the same filters again, with times that no longer move."""
    words: list[str] = []
    for name, given in filters.items():
        for each in given if isinstance(given, tuple) else () if given is None else (given,):
            words += (f"--{name}", each.isoformat() if isinstance(each, datetime) else each)
    return tuple(words)


def tell_unanswered(selection: Selection) -> None:
    if selection.unanswered:
        talk(f"--where has no answer for {number(selection.unanswered)} of them; these are left out", style="yellow")


def rest_of(app: tuple[str, ...], topics: tuple[str, ...], name: str | None) -> tuple[str, ...]:
    """The words that name the same function again."""
    return (*app, *(word for topic in topics for word in ("--stream", topic)), *same_app((), name))
