"""``dispatch list``: the bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_objects
from dispatcher.cli.options import app_argument, app_name, app_option, functions
from dispatcher.cli.output import print_table

if TYPE_CHECKING:
    from dispatcher.config.functions import Function

__all__ = ["list_bindings"]


@click.command("list")
@app_argument
@app_option
@output_option
def list_bindings(app: tuple[str, ...], name: str | None, output: Format) -> None:
    """Show the functions and how their events are delivered.

    APP is a folder, a file, a module or module:function; this folder when none is named.
    """
    found = functions(app)
    group = app_name(app, name)
    if output != "text":
        print_objects(output, [_as_json(function, group) for function in found])
        return
    header = ("FUNCTION", "STREAMS", "GROUP", "ORDER", "BATCH", "RETRY", "TARGET", "EMITS")
    print_table(header, [_row(function, group) for function in found])


def _row(function: Function, app: str) -> tuple[str, ...]:
    binding = function.binding
    batch, retry = binding.batch, binding.retry
    size = f"{batch.max_events} or {batch.max_wait:g} s" if batch.max_events > 1 else "1"
    return (
        binding.name,
        ",".join(binding.streams),
        f"{app}.{binding.name}",
        binding.order,
        size + (" by key" if batch.group_by else ""),
        f"{retry.max_attempts} attempts, then {retry.then.replace('_', ' ')}",
        function.target_name,
        binding.emits or "-",
    )


def _as_json(function: Function, app: str) -> dict[str, Any]:
    from dispatcher.config.elsewhere import is_elsewhere

    binding = function.binding
    batch, retry = binding.batch, binding.retry
    return {
        "function": binding.name,
        # Of a function that is elsewhere there is no code to point to.
        "module": None if is_elsewhere(binding) else binding.function.__module__,
        "attribute": None if is_elsewhere(binding) else binding.function.__qualname__,
        "takes": binding.signature.type_name,
        "streams": list(binding.streams),
        "group": f"{app}.{binding.name}",
        "order": binding.order,
        "batch": {
            "max_events": batch.max_events,
            "max_bytes": batch.max_bytes,
            "max_wait": batch.max_wait,
            "group_by": batch.group_by,
        },
        "retry": {
            "max_attempts": retry.max_attempts,
            "initial": retry.initial,
            "multiplier": retry.multiplier,
            "max_delay": retry.max_delay,
            "jitter": retry.jitter,
            "max_age": retry.max_age,
            "retry_on": [kind.__name__ for kind in retry.retry_on],
            "give_up_on": [kind.__name__ for kind in retry.give_up_on],
            "then": retry.then,
        },
        "concurrency": binding.concurrency,
        "max_concurrency": binding.max_concurrency,
        "timeout": binding.timeout,
        "rate": binding.rate,
        "where": binding.where,
        "target": function.target_name,
        "emits": binding.emits,
        "dead_letters": [binding.dead_letter_topic(stream) for stream in binding.streams],
        "start": str(binding.start),
    }
