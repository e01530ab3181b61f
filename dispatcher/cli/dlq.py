"""``dispatch dlq``: what became a dead letter, why, and what to do about it."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.clearing import ClearingCommand
from dispatcher.cli.confirm import confirm_options
from dispatcher.cli.editing import edit
from dispatcher.cli.formats import Format, output_option
from dispatcher.cli.help import Group
from dispatcher.cli.operations import find_operation, operations
from dispatcher.cli.options import app_name, app_option, broker_option, open_broker, run_async, same_app
from dispatcher.cli.output import command, print_json, print_lines, print_table, talk
from dispatcher.cli.shelves import (
    filter_options,
    filter_words,
    letter_option,
    rest_of,
    resumable_shelf_options,
    selection_of,
    shelf_of,
    shelf_options,
    tell_unanswered,
)
from dispatcher.errors import StreamNotFound
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from dispatcher.deadletters import Found

__all__ = ["dlq"]


@click.group(cls=Group)
def dlq() -> None:
    """Look at dead letters, send them back to their function, or drop them.

    FN is the function's name, looked for in APP (this folder, when none is named).
    """


@dlq.command("list")
@shelf_options
@filter_options
@click.option("--all", "everything", is_flag=True, help="Also those that were sent back or dropped.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many.")
@output_option
def list_letters(
    function: str,
    app: tuple[str, ...],
    stream: tuple[str, ...],
    broker: str,
    name: str | None,
    everything: bool,
    limit: int | None,
    output: Format,
    **filters: Any,
) -> None:
    """Show the dead letters of a function that nobody has dealt with: where, how old, why."""
    from dispatcher.cli.letters import HEADER, RIGHT, as_json, row

    shelf, selection = shelf_of(function, app, stream, name), selection_of(**filters)
    found: list[Found] = []
    count = 0

    async def work() -> None:
        nonlocal count
        async with open_broker(broker, must_exist=True) as opened:
            try:
                async with aclosing(shelf.letters(opened, selection, resolved=everything)) as letters:
                    async for each in letters:
                        count += 1
                        if output == "jsonl":
                            print_json(as_json(each), lines=True)
                        else:
                            found.append(each)
                        if count == limit:
                            break
            except StreamNotFound as error:
                talk(str(error))

    run_async(work())
    if output == "json":
        print_json([as_json(each) for each in found])
    elif output == "text" and found:
        print_table(HEADER, [row(each, short=len(shelf.topics) == 1) for each in found], right=RIGHT)
    letters = f"{number(count)} dead letter{'s' * (count != 1)} of {function}"
    talk(letters + ("" if everything else " to deal with") + (", and maybe more" if count == limit else ""))
    tell_unanswered(selection)
    if found and output == "text":
        short = row(found[0], short=len(shelf.topics) == 1)[0]
        rest = rest_of(app, stream, name)
        talk(f"  look at one: {command('dlq', 'show', function, short, *rest, broker=broker)}")
        if not all(each.resolved for each in found):
            again = command("dlq", "redrive", function, *rest, *filter_words(filters), broker=broker)
            talk(f"  send them back: {again}")


@dlq.command()
@click.argument("function", metavar="FN")
@click.argument("letter", metavar="[TOPIC/]P@OFFSET")
@click.argument("app", nargs=-1, metavar="[APP]...")
@click.option("--stream", multiple=True, metavar="TOPIC", help="The dead-letter topic; then no code is read.")
@broker_option
@app_option
@output_option
def show(
    function: str,
    letter: str,
    app: tuple[str, ...],
    stream: tuple[str, ...],
    broker: str,
    name: str | None,
    output: Format,
) -> None:
    """Show one dead letter whole: where it comes from, what went wrong, headers and value."""
    from dispatcher.cli.letters import as_json, as_text, place_of

    shelf = shelf_of(function, app, stream, name)
    id_, offset = place_of(letter, shelf.topics)

    async def work() -> Found | None:
        async with open_broker(broker, must_exist=True) as opened:
            return await shelf.at(opened, id_, offset)

    found = run_async(work())
    if found is None:
        error = StreamNotFound(f"{function} has no dead letter at {id_.topic}/{id_.partition}@{offset}")
        error.add_note(command("dlq", "list", function, *rest_of(app, stream, name), "--all", broker=broker))
        raise error
    if output == "text":
        print_lines(as_text(found))
    else:
        print_json(as_json(found), lines=output == "jsonl")


@dlq.command()
@resumable_shelf_options
@filter_options
@letter_option
@click.option(
    "--resume",
    metavar="ID",
    help="Go on with a redrive that was aborted or killed, as it was begun; FN and filters are left out.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Letters a second, at the most.")
@click.option("--max", "limit", type=click.IntRange(1), metavar="N", help="Letters, at the most.")
@click.option(
    "--max-redrives",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Leave alone what was sent back so often before.",
)
@click.option("--force", is_flag=True, help="Send back that too.")
@confirm_options
@output_option
def redrive(
    function: str | None,
    app: tuple[str, ...],
    stream: tuple[str, ...],
    broker: str,
    name: str | None,
    resume: str | None,
    dry_run: bool,
    rate: float | None,
    limit: int | None,
    max_redrives: int,
    force: bool,
    yes: bool,
    no_input: bool,
    output: Format,
    **filters: Any,
) -> None:
    """Send dead letters back to their function, and to it alone, each with its first coordinates and all its attempts.

    Letters of one key come in their order; against what the function handles meanwhile they have none. What was sent is
    marked so, and is not sent again. What becomes a dead letter meanwhile is not part of it. Ctrl-C ends it cleanly;
    after that, or a kill, --resume goes on with it, from any machine.
    """
    run: ClearingCommand
    if resume is not None:
        if function or stream or limit or force or any(filters.values()):
            raise click.UsageError("--resume goes on as it was begun: it takes --rate, --app and --broker alone")
        run = _resumed(resume, app_name(app, name), broker, rate, output)
        app = ()
    elif function is None:
        raise click.UsageError("of which function? FN, or --resume ID")
    else:
        run = ClearingCommand(
            shelf_of(function, app, stream, name),
            selection_of(**filters),
            broker,
            what="redrive",
            limit=limit,
            rate=rate,
            max_redrives=None if force else max_redrives,
            output=output,
        )
    run_async(run.work(dry_run=dry_run, yes=yes, no_input=no_input, words=same_app(app, name)))
    raise SystemExit(run.exit_code)


@dlq.command()
@shelf_options
@filter_options
@letter_option
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("--max", "limit", type=click.IntRange(1), metavar="N", help="Letters, at the most.")
@confirm_options
@output_option
def drop(
    function: str,
    app: tuple[str, ...],
    stream: tuple[str, ...],
    broker: str,
    name: str | None,
    dry_run: bool,
    limit: int | None,
    yes: bool,
    no_input: bool,
    output: Format,
    **filters: Any,
) -> None:
    """Mark dead letters as dealt with, without sending them anywhere.

    A log can't delete: they stay in their topic until its retention takes them, and list --all shows them.
    """
    shelf, selection = shelf_of(function, app, stream, name), selection_of(**filters)
    run = ClearingCommand(
        shelf, selection, broker, what="drop", limit=limit, rate=None, max_redrives=None, output=output
    )
    run_async(run.work(dry_run=dry_run, yes=yes, no_input=no_input, words=same_app(app, name)))
    raise SystemExit(run.exit_code)


def _resumed(id_: str, app: str, broker: str, rate: float | None, output: Format) -> ClearingCommand:
    operation = run_async(find_operation(id_, app, broker))
    if operation.what != "redrive":
        raise click.UsageError(f"{operation.id} is a {operation.what}: type it again, it repeats nothing")
    return ClearingCommand(
        operation.shelf,
        operation.selection,
        broker,
        what="redrive",
        limit=operation.limit,
        rate=rate or operation.rate,
        max_redrives=operation.max_redrives,
        output=output,
        resumed=operation,
    )


dlq.add_command(edit)
dlq.add_command(operations)
