"""``-o``: in which form a command prints what it found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import click

from dispatcher.cli.output import print_json, print_table

__all__ = ["Format", "output_option", "print_found", "print_objects"]

F = TypeVar("F", bound=Callable[..., Any])

Format = Literal["text", "json", "jsonl"]


def output_option(function: F) -> F:
    """Give a command ``-o text|json|jsonl``, with ``--json`` for ``-o json``; it takes them as ``output``."""

    @functools.wraps(function)
    def wrapper(*args: Any, output: Format | None, as_json: bool, **options: Any) -> Any:
        if as_json and output not in (None, "json"):
            raise click.UsageError(f"--json and -o {output} are two forms: choose one")
        return function(*args, output=output or ("json" if as_json else "text"), **options)

    option = click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json", "jsonl"]),
        help="A table, one JSON document, or an object a line.  [default: text]",
    )
    alias = click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
    return option(alias(wrapper))  # type: ignore[return-value]  # click keeps the type of what it decorates


def print_found(
    output: Format,
    found: Sequence[Mapping[str, Any]],
    header: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    *,
    right: Sequence[int] = (),
) -> None:
    """Print a list: a table of ``row`` of each, an array, or an object a line."""
    if output == "text":
        print_table(header, [row(each) for each in found], right=right)
    else:
        print_objects(output, found)


def print_objects(output: Format, found: Sequence[Mapping[str, Any]]) -> None:
    """Print an array, or an object a line."""
    if output == "json":
        print_json(list(found))
        return
    for each in found:
        print_json(each, lines=True)
