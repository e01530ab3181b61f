"""What the commands print: data to stdout, talk to stderr."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dispatcher.config import DEFAULT_BROKER
from dispatcher.errors import DispatchError
from dispatcher.telemetry.text import columns, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "colours",
    "command",
    "fail",
    "hint_for",
    "print_json",
    "print_lines",
    "print_table",
    "stderr_console",
    "talk",
]


def talk(*lines: str, style: str | None = None) -> None:
    """Say something to the person, on stderr. A line break inside one of the lines is shown as an escape: it came from outside."""
    safe = "\n".join(printable(line) for line in lines)
    click.echo(click.style(safe, fg=style) if style else safe, err=True, color=colours())


def fail(message: str, hint: str | None = None) -> None:
    """Say why the command fails, and what to try next. All lines behind the first are indented: none passes for one of ours."""
    first, *more = (printable(line) for line in message.split("\n"))
    safe = "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in more)])
    click.echo(f"{click.style('error:', fg='red', bold=True)} {safe}", err=True, color=colours())
    if hint:
        talk(f"  try: {hint}")


def hint_for(error: DispatchError) -> str | None:
    """The command that a person would run next: the note that the error carries, if it does."""
    notes = getattr(error, "__notes__", ())
    return notes[0] if notes else None


def command(*words: str, broker: str = DEFAULT_BROKER) -> str:
    """A command line to copy: quoted, and with the broker when it is not the default."""
    named = [] if broker == DEFAULT_BROKER else ["--broker", broker]
    return " ".join(["dispatch", *(shlex.quote(word) for word in (*words, *named))])


def print_lines(lines: Iterable[str]) -> None:
    """Print data, a line each."""
    for line in lines:
        click.echo(line)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print aligned columns. Nothing is cut off, on whatever terminal: it may be copied or piped."""
    head, *body = columns([header, *rows], right=right)
    click.echo(click.style(head, bold=True), color=colours())
    print_lines(body)


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print JSON in ASCII, so that nothing in it moves a cursor; indented, or all on a line."""
    click.echo(json.dumps(value, indent=None if lines else 2, default=str))


def stderr_console() -> Console:
    """The console for all that is said while functions run. Nothing in a text is taken for markup."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def colours() -> bool | None:
    """None leaves it to click: colours on a terminal. False by https://no-color.org or on a dumb terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return None
