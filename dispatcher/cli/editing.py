"""``dispatch dlq edit``: one letter sent back with another value."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.clearing import ClearingCommand
from dispatcher.cli.confirm import confirm_options
from dispatcher.cli.formats import Format, output_option
from dispatcher.cli.options import app_option, broker_option, open_broker, run_async, same_app
from dispatcher.cli.output import talk
from dispatcher.cli.shelves import find_function, shelf_of
from dispatcher.errors import DispatchError, StreamNotFound

if TYPE_CHECKING:
    from dispatcher.deadletters import Letter

__all__ = ["edit"]


@click.command()
@click.argument("function", metavar="FN")
@click.argument("letter", metavar="[TOPIC/]P@OFFSET")
@click.argument("app", nargs=-1, metavar="[APP]...")
@click.option("--stream", multiple=True, metavar="TOPIC", help="The dead-letter topic; then no code is read.")
@click.option(
    "--value",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="The new value, from a file, or - for stdin; without it, $EDITOR opens with the old one.",
)
@click.option("--force", is_flag=True, help="Send it back though it is no JSON, or the function can't take it.")
@confirm_options
@broker_option
@app_option
@output_option
def edit(
    function: str,
    letter: str,
    app: tuple[str, ...],
    stream: tuple[str, ...],
    value: str | None,
    force: bool,
    yes: bool,
    no_input: bool,
    broker: str,
    name: str | None,
    output: Format,
) -> None:
    """Send one dead letter back with another value: its own key, headers and coordinates, all its attempts.

    The letter itself stays in its topic as it was, marked as dealt with. The event that is sent carries its place in the
    header dispatch-edited-from.
    """
    from dispatcher.cli.letters import place_of
    from dispatcher.deadletters import Selection

    shelf = shelf_of(function, app, stream, name)
    id_, offset = place_of(letter, shelf.topics)

    async def find() -> Letter:
        async with open_broker(broker, must_exist=True) as opened:
            found = await shelf.at(opened, id_, offset)
        if found is None:
            raise StreamNotFound(f"{function} has no dead letter at {id_.topic}/{id_.partition}@{offset}")
        if found.resolved:
            raise DispatchError(f"{found.letter.place} was sent back or dropped already")
        return found.letter

    found = run_async(find())
    new = _from_file(value) if value is not None else _from_editor(found)
    if new is None or new == found.origin.value:
        talk("nothing was changed, and nothing done")
        return
    changed = replace(found, origin=found.origin._replace(value=new), cut=None, edited_from=found.place)
    if (why := _objection(changed, found, None if stream else function, app)) is not None:
        if not force:
            raise DispatchError(f"{why}; --force sends it all the same")
        talk(why, style="yellow")
    _show(found, new)
    run = ClearingCommand(
        shelf,
        Selection(places=frozenset([found.place])),
        broker,
        what="edit",
        limit=1,
        rate=None,
        max_redrives=None,
        output=output,
        edit=lambda _letter: changed,
    )
    run_async(run.work(dry_run=False, yes=yes, no_input=no_input, words=same_app(app, name)))
    raise SystemExit(run.exit_code)


def _from_file(path: str) -> bytes:
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    # An editor's last newline is no part of a value.
    return data.removesuffix(b"\n")


def _from_editor(letter: Letter) -> bytes | None:
    """What a person makes of the value; None when the editor was left without saving."""
    old = letter.origin.value or b""
    if letter.cut is not None:
        raise DispatchError(f"the value of {letter.place} was cut: give the whole of it, --value FILE")
    if not sys.stdin.isatty() and not os.environ.get("EDITOR") and not os.environ.get("VISUAL"):
        raise click.UsageError("there is no terminal for an editor: --value FILE, or - for stdin")
    try:
        text = old.decode()
    except UnicodeDecodeError:
        raise DispatchError(f"the value of {letter.place} is no text: --value FILE takes bytes as they are") from None
    is_json, value = _as_json(old)
    shown = json.dumps(value, indent=2, ensure_ascii=False) if is_json else text
    edited = click.edit(shown, extension=".json" if is_json else ".txt", require_save=True)
    if edited is None or edited.rstrip("\n") == shown.rstrip("\n"):
        return None
    if is_json:
        is_still, new = _as_json(edited.encode())
        if is_still:
            return json.dumps(new, ensure_ascii=False, separators=(",", ":")).encode()
    return edited.removesuffix("\n").encode()


def _objection(changed: Letter, old: Letter, function: str | None, app: tuple[str, ...]) -> str | None:
    """Why the new value would only come back: it is no JSON and the old one was, or is not what the function takes."""
    from bindings.calling import item_of

    if function is not None:
        try:
            item_of(find_function(function, app).binding.signature, changed.origin)
        except Exception as error:  # noqa: BLE001 - users' validators may raise anything
            return f"{function} can't take the new value: {error}"
        return None
    is_json, _ = _as_json(changed.origin.value or b"")
    was_json, _ = _as_json(old.origin.value or b"")
    return "the new value is no JSON, and the old one was" if was_json and not is_json else None


def _show(old: Letter, new: bytes) -> None:
    from dispatcher.jsondiff import changes

    (was_json, before), (is_json, after) = _as_json(old.origin.value or b""), _as_json(new)
    if was_json and is_json:
        for change in changes(before, after):
            talk(f"  {change}")
    else:
        talk(f"  {len(old.origin.value or b''):,} bytes become {len(new):,}")


def _as_json(data: bytes) -> tuple[bool, Any]:
    try:
        return True, json.loads(data)
    except (ValueError, RecursionError):
        return False, None
