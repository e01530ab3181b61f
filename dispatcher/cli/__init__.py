"""The command ``dispatch``.

stdout is data, stderr is talk. Exit codes: 0, 1 for a failure, 2 for a command that was not understood, 130 and
143 after SIGINT and SIGTERM. An error that is foreseen is a message; a traceback is a bug.

With ``--json`` stdout holds an array (``list``, ``check``, ``streams list``), an object (``streams show``, the summaries
of ``run`` and ``send``), or an object a line (``streams tail``), all of it in ASCII.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from dispatcher.cli.lazily import LazyGroup
from dispatcher.errors import DispatchError

__all__ = ["main"]


# What each says of itself is here once more, so that the help imports none of them; a test compares the two.
COMMANDS = {
    "init": (
        "dispatcher.cli.init:init",
        "Make a new project in a folder of that name: a function, its tests, and what deploys it.",
    ),
    "run": ("dispatcher.cli.run:run", "Deliver events to functions."),
    "check": (
        "dispatcher.cli.check:check",
        "Check imports, signatures, filters, policies, the broker and its streams; say how to mend each finding.",
    ),
    "config": ("dispatcher.cli.config:config", "Look at the settings: dispatch.toml, the environment, flags."),
    "list": ("dispatcher.cli.listing:list_bindings", "Show the functions and how their events are delivered."),
    "send": ("dispatcher.cli.send:send", "Send JSON lines, each of which is the value of one event."),
    "streams": ("dispatcher.cli.streams:streams", "Look at the streams of a broker, and make them."),
    "dlq": ("dispatcher.cli.dlq:dlq", "Look at dead letters, send them back to their function, or drop them."),
    "errors": (
        "dispatcher.cli.errors:errors",
        "What goes wrong, by cause: function, error type and the place in your code.",
    ),
    "replay": ("dispatcher.cli.replay:replay", "Deliver history to a function again, and end there."),
    "kafka": (
        "dispatcher.cli.kafka:kafka",
        "Run a real Apache Kafka on this machine, for development: no Docker, no installed Java.",
    ),
    "manifest": (
        "dispatcher.cli.manifest:manifest",
        "Print all bindings as one versioned JSON document, for tools that do not import the code.",
    ),
    "completion": (
        "dispatcher.cli.completion:completion",
        "Print the script that completes commands and options in a shell.",
    ),
    "invoke": (
        "dispatcher.cli.invoke:invoke",
        "Run one function on given events. Nothing is committed and nothing is produced.",
    ),
    "status": (
        "dispatcher.cli.status:status",
        "Show where each function stands, by what its group has committed: it works while nothing runs.",
    ),
    "groups": (
        "dispatcher.cli.groups:groups",
        "Move the consumer groups of functions. Where they stand is shown by `dispatch status`.",
    ),
    "functions": (
        "dispatcher.cli.functions:functions",
        "Pause functions and resume them, in every process of the app, and show who did it, when and why.",
    ),
}


class _Commands(LazyGroup):
    """A group whose commands end in a message, not in a traceback, at what was foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DispatchError as error:
            from dispatcher.cli.output import fail, hint_for

            fail(str(error), hint_for(error))
            ctx.exit(1)
        except Exception as error:
            if not _is_binding_error(error):
                raise
            from dispatcher.cli.output import fail

            fail(str(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(130)


def _is_binding_error(error: Exception) -> bool:
    # Without an import: what has raised one has imported it, and it takes 60 ms that other commands do not need.
    errors = sys.modules.get("bindings.errors")
    return errors is not None and isinstance(error, errors.BindingError)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dispatch-runtime", prog_name="dispatch")
def cli() -> None:
    """Push events from streams into functions: in order, with retries, dead letters and precise offsets.

    With no broker named, everything happens on an embedded log in .dispatch/log.db.
    """


cli.list_lazily(COMMANDS)


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    cli(prog_name="dispatch")
    sys.exit(0)  # not reached: the group exits by itself
