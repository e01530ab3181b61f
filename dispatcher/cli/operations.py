"""``dispatch dlq operations``: the redrives, edits and drops of an app, and how far they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_found
from dispatcher.cli.options import app_name, app_option, broker_option, open_broker, run_async, same_app
from dispatcher.cli.output import command, print_json, print_lines, talk
from dispatcher.telemetry.text import columns, duration, moment, number, printable

if TYPE_CHECKING:
    from dispatcher.deadletters import Operation

__all__ = ["find_operation", "operations"]

_HEADER = ("OPERATION", "WHAT", "FUNCTION", "BEGAN", "BY", "STATE", "CLEARED", "OF", "FAILED")


async def find_operation(id_: str, app: str, url: str) -> Operation:
    """The operation of that id; the beginning of it is enough.

    Raises:
        click.UsageError: there is none, or several begin so.
    """
    from dispatcher.deadletters import load_operations

    async with open_broker(url, must_exist=True) as broker:
        known = await load_operations(broker, app)
    matching = [operation for name, operation in known.items() if name.startswith(id_)]
    if len(matching) == 1:
        return matching[0]
    look = command("dlq", "operations", *same_app((), app), broker=url)
    if matching:
        raise click.UsageError(f"{id_} begins {len(matching)} operations: {look}")
    raise click.UsageError(f"there is no operation {id_} of {app}: {look} names them")


@click.command()
@click.argument("operation", metavar="[ID]", required=False)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="The latest so many.")
@broker_option
@app_option
@output_option
def operations(operation: str | None, limit: int, broker: str, name: str | None, output: Format) -> None:
    """Show redrives, edits and drops, the latest first; of one, named by ID, all of it and what failed.

    They are kept in the stream _dispatch.journal.<app>. One whose process has died is interrupted: dlq redrive --resume
    ID goes on with it.
    """
    app = app_name((), name)
    found = run_async(_states(app, broker))
    if operation is not None:
        chosen = run_async(find_operation(operation, app, broker))
        facts = next(each for each in found if each["id"] == chosen.id)
        if output != "text":
            print_json(facts, lines=output == "jsonl")
        else:
            print_lines(_whole(facts))
        return
    found = found[:limit]
    if output != "text" or found:
        print_found(output, found, _HEADER, _row, right=(3, 6, 7, 8))
    if not found:
        talk(f"no redrives, edits or drops of {app} are known")


async def _states(app: str, url: str) -> list[dict[str, Any]]:
    """Each operation with how it really stands, the latest first."""
    from dispatcher.deadletters import load_operations

    found = []
    async with open_broker(url, must_exist=True) as broker:
        for operation in (await load_operations(broker, app)).values():
            facts = operation.as_json()
            if operation.state == "running" and not await operation.is_running(broker):
                facts["state"] = "interrupted"
            found.append(facts)
    return sorted(found, key=lambda facts: facts["started_ms"], reverse=True)


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    return (
        facts["id"],
        facts["what"],
        facts["function"],
        f"{duration(max(0.0, time.time() - facts['started_ms'] / 1000))} ago",
        facts["by"],
        facts["state"],
        number(facts["cleared"]),
        number(facts["going"]),
        number(facts["failed_count"]),
    )


def _whole(facts: dict[str, Any]) -> list[str]:
    said = {name: value for name, value in facts["filter"].items() if value}
    ends = ", ".join(f"{topic}/{partition}@{end}" for topic, partition, end in facts["ends"])
    lines = [
        ("operation", facts["id"]),
        ("what", f"{facts['what']} of {facts['function']}"),
        ("state", facts["state"]),
        ("by", facts["by"]),
        ("began", moment(facts["started_ms"])),
        ("last word", moment(facts["updated_ms"])),
        ("filter", ", ".join(f"{name}={value}" for name, value in said.items()) or "all"),
        ("ends", ends),
        ("rate", number(facts["rate"])),
        ("at most", number(facts["limit"])),
        ("cleared", f"{number(facts['cleared'])} of {number(facts['going'])}"),
        ("held", ", ".join(f"{why} {number(count)}" for why, count in facts["held"].items()) or "-"),
        ("failed", number(facts["failed_count"])),
    ]
    return [*columns(lines), *(f"    {printable(place)}: {printable(why)}" for place, why in facts["failed"].items())]
