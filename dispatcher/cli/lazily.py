"""A group of commands whose modules are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from dispatcher.cli.help import Group, with_help

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyGroup"]


class _Listed(click.Command):
    """A command of which the help of its group is all that is needed."""

    def __init__(self, name: str, place: str, help: str) -> None:  # noqa: A002 - click's name for it
        super().__init__(name, help=help)
        self.place = place


class LazyGroup(Group):
    """A group that can list a command without importing it.

    Importing all commands took 45 of the 280 ms of ``dispatch --help``, and each of them pays for its neighbours'.
    """

    def list_lazily(self, commands: Mapping[str, tuple[str, str]]) -> None:
        """Add commands: name -> where it is, ``package.module:attribute``, and the first paragraph of its help."""
        for name, (place, text) in commands.items():
            self.add_command(_Listed(name, place, text))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self._imported(command) if isinstance(command, _Listed) else command, rest

    def import_all(self) -> None:
        """Import every command, for what goes through them all."""
        for command in list(self.commands.values()):
            if isinstance(command, _Listed):
                self._imported(command)

    def _imported(self, listed: _Listed) -> click.Command:
        module, _, attribute = listed.place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        self.commands[listed.name or attribute] = with_help(command)
        return command
