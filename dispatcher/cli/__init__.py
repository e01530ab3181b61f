"""The command ``dispatch``.

stdout is data, stderr is talk. Exit codes: 0, 1 for a failure, 2 for a command that was not understood, 130 and
143 after SIGINT and SIGTERM. An error that is foreseen is a message; a traceback is a bug.

With ``--json`` stdout holds an array (``list``, ``check``, ``streams list``), an object (``streams show``, the summaries
of ``run`` and ``send``), or an object a line (``streams tail``), all of it in ASCII.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import rich_click as click

from dispatcher.cli.check import check
from dispatcher.cli.completion import completion
from dispatcher.cli.config import config
from dispatcher.cli.dlq import dlq
from dispatcher.cli.errors import errors
from dispatcher.cli.functions import functions
from dispatcher.cli.groups import groups
from dispatcher.cli.invoke import invoke
from dispatcher.cli.kafka import kafka
from dispatcher.cli.listing import list_bindings
from dispatcher.cli.manifest import manifest
from dispatcher.cli.output import fail, hint_for
from dispatcher.cli.replay import replay
from dispatcher.cli.run import run
from dispatcher.cli.send import send
from dispatcher.cli.status import status
from dispatcher.cli.streams import streams
from dispatcher.errors import DispatchError

__all__ = ["main"]


class _Commands(click.RichGroup):
    """A group whose commands end in a message, not in a traceback, at what was foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DispatchError as error:
            fail(str(error), hint_for(error))
            ctx.exit(1)
        except Exception as error:
            if not _is_binding_error(error):
                raise
            fail(str(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)


def _is_binding_error(error: Exception) -> bool:
    # Without an import: what has raised one has imported it, and it takes 60 ms that other commands do not need.
    errors = sys.modules.get("bindings.errors")
    return errors is not None and isinstance(error, errors.BindingError)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dispatch-runtime", prog_name="dispatch")
def cli() -> None:
    """Push events from streams into functions: in order, with retries, dead letters and precise offsets.

    With no broker named, everything happens on an embedded log in .dispatch/log.db.
    """


cli.add_command(run)
cli.add_command(check)
cli.add_command(config)
cli.add_command(list_bindings)
cli.add_command(send)
cli.add_command(streams)
cli.add_command(dlq)
cli.add_command(errors)
cli.add_command(replay)
cli.add_command(kafka)
cli.add_command(manifest)
cli.add_command(completion)
cli.add_command(invoke)
cli.add_command(status)
cli.add_command(groups)
cli.add_command(functions)


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    cli(prog_name="dispatch")
    sys.exit(0)  # not reached: the group exits by itself
