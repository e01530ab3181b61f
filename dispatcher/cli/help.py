"""How help looks: click's own layout, with the headings bold and the names coloured on a terminal.

rich-click drew panels, and took 140 of the 230 ms of ``dispatch --help`` to be imported and to draw them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable

import click

__all__ = ["Group", "with_help"]


class HelpFormatter(click.HelpFormatter):
    """Bold headings and coloured names; click takes the codes away where no terminal reads them."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line of usage."""
        super().write_usage(prog, args, _styled(prefix or "Usage: ", bold=True))

    def write_heading(self, heading: str) -> None:
        """A heading over what follows it."""
        self.write(f"{'':>{self.current_indent}}{_styled(f'{heading}:', bold=True)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Names, and what is said of each."""
        super().write_dl([(_styled(name, fg="cyan"), text) for name, text in rows], col_max, col_spacing)


class HelpContext(click.Context):
    """The context of commands whose help looks so."""

    formatter_class = HelpFormatter


class Group(click.Group):
    """A group that lists each command with all that its first paragraph says, where click would cut it short."""

    context_class = HelpContext

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, below a heading."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                rows.append((name, " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def with_help(command: click.Command) -> click.Command:
    """Have the command's help look so, and that of its own commands."""
    command.context_class = HelpContext
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        with_help(each)
    return command


def _styled(text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
    # https://no-color.org, which click leaves to its users.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, fg=fg, bold=bold)
