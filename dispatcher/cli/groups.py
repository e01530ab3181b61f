"""``dispatch groups``: the consumer groups of functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dispatcher.cli.confirm import audit, confirm, confirm_options
from dispatcher.cli.formats import Format, output_option, print_found
from dispatcher.cli.help import Group
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    open_broker,
    run_async,
    same_app,
)
from dispatcher.cli.output import command, talk
from dispatcher.cli.shelves import function_named
from dispatcher.errors import CommitRefused, ConfigurationError
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bindings.binding import Binding
    from dispatcher.brokers.base import Broker
    from dispatcher.core.record import Committed, TopicPartition
    from dispatcher.times import Position

__all__ = ["groups"]

_SHIFT = re.compile(r"[+-]\d{1,18}", re.ASCII)


class _Shift(NamedTuple):
    """So many events on, or back, from where the group stands."""

    events: int


class _Target(click.ParamType[Any]):
    name = "where"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Position | _Shift:
        from dispatcher.times import parse_position

        if _SHIFT.fullmatch(value):
            return _Shift(int(value))
        try:
            return parse_position(value)
        except ValueError as error:
            self.fail(f"{error}, +N or -N", param, ctx)


class _Move(NamedTuple):
    """One partition: where the group stands, where it would, and what its log holds."""

    partition: TopicPartition
    before: Committed | None
    after: int
    end: int


@click.group(cls=Group)
def groups() -> None:
    """Move the consumer groups of functions. Where they stand is shown by `dispatch status`."""


@groups.command(context_settings={"ignore_unknown_options": False})
@click.argument("function", metavar="FN")
@app_argument
@click.option(
    "--to",
    "target",
    type=_Target(),
    required=True,
    metavar="WHERE",
    help="earliest, latest, now, -2h (a time back), an ISO 8601 time, @OFFSET, or +N or -N events from where it stands.",
)
@click.option("--stream", multiple=True, metavar="STREAM", help="Only this one of its streams. May be given again.")
@click.option("--partition", multiple=True, type=click.IntRange(0), metavar="N", help="Only this. May be given again.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@confirm_options
@broker_option
@app_option
@output_option
def reset(
    function: str,
    app: tuple[str, ...],
    target: Position | _Shift,
    stream: tuple[str, ...],
    partition: tuple[int, ...],
    dry_run: bool,
    yes: bool,
    no_input: bool,
    broker: str,
    name: str | None,
    output: Format,
) -> None:
    """Set where a function goes on: shows each partition before and after, and asks.

    FN is the function's name, looked for in APP (this folder, when none is named). It is refused while members of the group
    are live. What was done beyond the new place is forgotten, attempts too, and delivered again.
    """
    binding = function_named(function, app)
    if unknown := [each for each in stream if each not in binding.streams]:
        raise click.UsageError(f"--stream {unknown[0]}: {function} consumes {', '.join(binding.streams)}")
    group, rest = f"{app_name(app, name)}.{binding.name}", same_app(app, name)

    async def work() -> None:
        async with open_broker(broker, must_exist=True) as opened:
            moves = await _plan(opened, binding, group, target, stream or binding.streams, partition, rest, url=broker)
            _show(moves, output)
            moving = [move for move in moves if move.before is None or tuple(move.before) != (move.after, "")]
            if not moving:
                talk(f"{group} stands there already")
                return
            await _require_idle(opened, group, rest, url=broker)
            if dry_run:
                talk("nothing was done: --dry-run")
                return
            question = f"Set {len(moving)} partition{'s' * (len(moving) != 1)} of {group} on {opened.url}?"
            confirm(question, yes=yes, no_input=no_input)
            await _move(opened, group, moving)
        talk(f"moved {group}; it goes on there: {command('run', *rest, broker=broker)}")

    run_async(work())


async def _plan(
    broker: Broker,
    binding: Binding,
    group: str,
    target: Position | _Shift,
    streams: tuple[str, ...],
    only: tuple[int, ...],
    rest: tuple[str, ...],
    *,
    url: str,
) -> list[_Move]:
    from dispatcher.cli.streams import described
    from dispatcher.times import offsets_at

    every = [id_ for each in streams for id_ in (await described(broker, each)).ids]
    if absent := set(only) - {id_.partition for id_ in every}:
        raise ConfigurationError(f"there is no partition {min(absent)} of {', '.join(streams)}")
    chosen = [id_ for id_ in every if not only or id_.partition in only]
    before, ends = await broker.committed(group, chosen), await broker.end_offsets(chosen)
    if isinstance(target, _Shift):
        if fresh := [id_ for id_ in chosen if before[id_] is None]:
            error = ConfigurationError(
                f"{group} has committed nothing in {fresh[0].topic}/{fresh[0].partition} yet, so there is nothing to count"
                f" {target.events:+d} from"
            )
            error.add_note(command("groups", "reset", binding.name, *rest, "--to", "earliest", broker=url))
            raise error
        begins = await broker.beginning_offsets(chosen)
        stands = {id_: commit.offset for id_, commit in before.items() if commit is not None}
        after = {id_: min(max(stands[id_] + target.events, begins[id_]), ends[id_]) for id_ in chosen}
    else:
        after = await offsets_at(broker, chosen, target)
    return [_Move(id_, before[id_], after[id_], ends[id_]) for id_ in chosen]


async def _require_idle(broker: Broker, group: str, rest: tuple[str, ...], *, url: str) -> None:
    if members := await broker.group_members(group):
        error = CommitRefused(
            f"{group} has {members} live member{'s' * (members != 1)}, which would go on where they are: stop its"
            " `dispatch run` first"
        )
        error.add_note(command("status", *rest, broker=url))
        raise error


async def _move(broker: Broker, group: str, moves: list[_Move]) -> None:
    from dispatcher.core.record import Committed

    await broker.set_offsets(group, {move.partition: Committed(move.after) for move in moves})
    facts: Mapping[str, Any] = {
        "group": group,
        "broker": broker.url,
        "before": {_place(move): None if move.before is None else move.before._asdict() for move in moves},
        "after": {_place(move): move.after for move in moves},
    }
    audit(configuration().settings.data, "groups reset", facts)


def _place(move: _Move) -> str:
    return f"{move.partition.topic}/{move.partition.partition}"


def _show(moves: list[_Move], output: Format) -> None:
    found = [
        {
            "stream": move.partition.topic,
            "partition": move.partition.partition,
            "before": None if move.before is None else move.before.offset,
            "after": move.after,
            "end": move.end,
            "lag_after": move.end - move.after,
        }
        for move in moves
    ]
    header = ("STREAM", "PARTITION", "BEFORE", "AFTER", "CHANGE", "END", "LAG AFTER")
    print_found(output, found, header, _row, right=(1, 2, 3, 4, 5, 6))


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    change = "-" if each["before"] is None else f"{each['after'] - each['before']:+,d}"
    return (
        each["stream"],
        str(each["partition"]),
        number(each["before"]),
        number(each["after"]),
        change,
        number(each["end"]),
        number(each["lag_after"]),
    )
