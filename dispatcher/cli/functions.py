"""``dispatch functions``: stop functions, let them go on, and see who did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_found
from dispatcher.cli.help import Group
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    discovered,
    open_broker,
    run_async,
    same_app,
    together,
)
from dispatcher.cli.output import command, print_json, talk
from dispatcher.cli.shelves import function_named
from dispatcher.errors import ConfigurationError, StreamNotFound
from dispatcher.telemetry.text import moment

if TYPE_CHECKING:
    from dispatcher.control import Action, Entry

__all__ = ["functions"]

_STATES = {"pause": "paused", "resume": "running"}
_LONGEST_NAME = 200


@click.group(cls=Group)
def functions() -> None:
    """Pause functions and resume them, in every process of the app, and show who did it, when and why.

    FN is the function's name, looked for in APP (this folder, when none is named). It works while nothing runs, and holds
    over restarts.
    """


def _person(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not value.isprintable() or not 0 < len(value) <= _LONGEST_NAME):
        raise click.BadParameter(f"a name is 1 to {_LONGEST_NAME} characters on one line")
    return value


_command_options = together(
    click.argument("function", metavar="FN"),
    app_argument,
    click.option("--reason", default="", metavar="TEXT", help="Why: for whoever comes by later."),
    click.option("--as", "person", callback=_person, metavar="NAME", help="Who.  [default: user@host]"),
    click.option("--dry-run", is_flag=True, help="Only say what would change."),
    broker_option,
    app_option,
    output_option,
)


@functions.command()
@_command_options
def pause(function: str, app: tuple[str, ...], **options: Any) -> None:
    """Start no more events of a function: what is in flight ends, its place in the group is kept, others go on.

    Every process hears of it within about a second, and those that start later before they deliver anything.
    """
    _say(function, app, "pause", **options)


@functions.command()
@_command_options
def resume(function: str, app: tuple[str, ...], **options: Any) -> None:
    """Let a function go on that was paused, or that has paused itself, as Retry(then="pause") has it.

    An event whose attempts are used up gets all of them again.
    """
    _say(function, app, "resume", **options)


@functions.command("list")
@app_argument
@broker_option
@app_option
@output_option
def list_functions(app: tuple[str, ...], broker: str, name: str | None, output: Format) -> None:
    """Show which functions are paused, since when, by whom and why. Where they stand is shown by `dispatch status`."""
    bindings, group = discovered(app), app_name(app, name)
    _require_control()

    async def work() -> list[dict[str, Any]]:
        from dispatcher.control import ControlLog

        async with open_broker(broker, must_exist=True) as opened:
            control = ControlLog(opened, group)
            await control.look()
        return [_state(binding.name, control.trail.last(binding.name)) for binding in bindings]

    print_found(output, run_async(work()), ("FUNCTION", "STATE", "SINCE", "BY", "WHY"), _state_row)


@functions.command()
@click.argument("function", metavar="FN")
@app_argument
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the last N.")
@broker_option
@app_option
@output_option
def history(
    function: str, app: tuple[str, ...], limit: int | None, broker: str, name: str | None, output: Format
) -> None:
    """Show who paused and resumed a function, when and why, the first first. The last 200 are kept."""
    binding, group = function_named(function, app), app_name(app, name)
    _require_control()

    async def work() -> list[dict[str, Any]]:
        from dispatcher.control import ControlLog

        async with open_broker(broker, must_exist=True) as opened:
            control = ControlLog(opened, group)
            await control.look()
        return [_entry(each) for each in control.trail.history(binding.name)[-limit if limit else None :]]

    found = run_async(work())
    print_found(output, found, ("TIME", "ACTION", "BY", "WHY"), _entry_row)
    if not found:
        talk(f"nobody has paused {binding.name} yet")


def _say(
    function: str,
    app: tuple[str, ...],
    action: Action,
    *,
    reason: str,
    person: str | None,
    dry_run: bool,
    broker: str,
    name: str | None,
    output: Format,
) -> None:
    binding, group = function_named(function, app), app_name(app, name)
    _require_control()

    async def work() -> tuple[bool, Entry | None]:
        import time

        from dispatcher.control import ControlLog, Entry
        from dispatcher.control.entry import whoami

        async with open_broker(broker, must_exist=True) as opened:
            control = ControlLog(opened, group, create=configuration().settings.create_topics)
            await control.look()
            last = control.trail.last(binding.name)
            if (last.action if last is not None else "resume") == action:
                return False, last
            now = time.time_ns() // 1_000_000
            entry = Entry(function=binding.name, action=action, by=person or whoami(), at=now, reason=reason)
            if not dry_run:
                try:
                    await control.write(entry)
                except StreamNotFound as error:
                    words = (
                        "streams",
                        "create",
                        control.topic,
                        "--partitions",
                        "1",
                        "--set",
                        "cleanup.policy=compact",
                    )
                    error.add_note(command(*words, broker=broker))
                    raise
            return True, entry

    changed, entry = run_async(work())
    if output != "text":
        said = {**_state(binding.name, entry), "changed": changed and not dry_run, "dry_run": dry_run}
        print_json(said, lines=output == "jsonl")
    state = _STATES[action]
    if not changed:
        since = f" since {moment(entry.at)}, by {entry.who}" if entry is not None else ""
        talk(f"{binding.name} is {state}{since}: nothing was done")
    elif dry_run:
        talk(f"nothing was done: --dry-run. {binding.name} would be {state}")
    else:
        talk(f"{binding.name} is {state}: its processes do so within about a second")
        if action == "pause":
            talk(f"  let it go on: {command('functions', 'resume', binding.name, *same_app(app, name), broker=broker)}")


def _require_control() -> None:
    if configuration().settings.control == "off":
        raise ConfigurationError('control = "off": the processes of this app hear no commands')


def _state(function: str, entry: Entry | None) -> dict[str, Any]:
    said = None if entry is None else entry.as_json()
    return {
        "function": function,
        "state": _STATES["resume" if entry is None else entry.action],
        "since": None if entry is None else moment(entry.at),
        "by": None if entry is None else entry.who,
        "why": None if entry is None else entry.why or None,
        "event": None if said is None else said["event"],
    }


def _state_row(state: dict[str, Any]) -> tuple[str, ...]:
    return tuple(state[column] or "-" for column in ("function", "state", "since", "by", "why"))


def _entry(entry: Entry) -> dict[str, Any]:
    return {**entry.as_json(), "at": moment(entry.at), "by": entry.who, "why": entry.why or None}


def _entry_row(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(entry[column] or "-" for column in ("at", "action", "by", "why"))
