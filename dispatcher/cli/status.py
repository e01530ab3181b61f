"""``dispatch status``: where the functions stand."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_objects
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    discovered,
    only_option,
    open_broker,
    run_async,
    same_app,
)
from dispatcher.cli.output import command, print_table, talk
from dispatcher.telemetry.text import duration, moment, number

if TYPE_CHECKING:
    from dispatcher.status import FunctionStatus, PartitionStatus

__all__ = ["status"]

_UNKNOWN = "unknown"
_SHOWN = 3


@click.command()
@app_argument
@broker_option
@app_option
@only_option
@click.option("--summary", is_flag=True, help="A line a function, without the partitions.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks of --watch.",
)
@output_option
def status(
    app: tuple[str, ...],
    broker: str,
    name: str | None,
    only: tuple[str, ...],
    summary: bool,
    watch: bool,
    interval: float,
    output: Format,
) -> None:
    """Show where each function stands, by what its group has committed: it works while nothing runs.

    APP is a folder, a file, a module or module:function; this folder when none is named. LAG counts the events that are not
    done, AGE is how long ago the oldest of them was written. What could not be read is `unknown`, and the exit code is 1.
    """
    work = _work(app, name, only, broker, summary=summary, every=interval if watch else None, output=output)
    known = run_async(work)
    raise SystemExit(0 if known else 1)


async def _work(
    targets: tuple[str, ...],
    name: str | None,
    only: tuple[str, ...],
    url: str,
    *,
    summary: bool,
    every: float | None,
    output: Format,
) -> bool:
    """Whether all could be read, the last time."""
    import asyncio

    from dispatcher.control import ControlLog
    from dispatcher.status import function_status

    bindings, app = discovered(targets, only), app_name(targets, name)
    settings = configuration().settings
    async with open_broker(url, must_exist=True) as broker:
        control = ControlLog(broker, app) if settings.control == "on" else None
        while True:
            found = [
                await function_status(binding, broker, app=app, now=time.time(), data=settings.data, control=control)
                for binding in bindings
            ]
            if every is not None and output == "text" and sys.stdout.isatty():
                click.clear()
            _print(found, output, same_app(targets, name), url, summary=summary)
            if every is None:
                return not any(each.problems for each in found)
            sys.stdout.flush()
            await asyncio.sleep(every)
            if output == "text" and not sys.stdout.isatty():
                click.echo()


def _print(found: list[FunctionStatus], output: Format, rest: tuple[str, ...], url: str, *, summary: bool) -> None:
    if output != "text":
        print_objects(output, [_as_json(each) for each in found])
    else:
        _print_text(found, summary=summary)
    for each in found:
        for problem in each.problems:
            talk(f"{each.name}: {problem}", style="yellow")
    for each in found:
        if output == "text" and each.state == "paused" and each.control is not None:
            why = f": {each.control.why}" if each.control.why else ""
            talk(f"{each.name} is paused since {moment(each.control.at)}, by {each.control.who}{why}", style="yellow")
            talk(f"  let it go on: {command('functions', 'resume', each.name, *rest, broker=url)}")
    if output == "text" and any(each.dead_letters and each.dead_letters.unresolved for each in found):
        [first, *_] = [each for each in found if each.dead_letters and each.dead_letters.unresolved]
        talk(f"look at the dead letters of {first.name}: {command('dlq', 'list', first.name, *rest, broker=url)}")


def _print_text(found: list[FunctionStatus], *, summary: bool) -> None:
    header = ("FUNCTION", "GROUP", "STATE", "MEMBERS", "LAG", "AGE", "IN FLIGHT", "PARKED", "DEAD LETTERS")
    print_table(header, [_row(each) for each in found], right=(3, 4, 5, 6, 7, 8))
    rows = [_partition_row(each.name, one) for each in found for one in each.partitions or ()]
    if rows and not summary:
        click.echo()
        columns = (
            "FUNCTION",
            "STREAM",
            "PARTITION",
            "COMMITTED",
            "END",
            "LAG",
            "AGE",
            "IN FLIGHT",
            "DONE BEYOND",
            "PARKED",
        )
        print_table(columns, rows, right=(2, 3, 4, 5, 6, 7, 8))


def _row(each: FunctionStatus) -> tuple[str, ...]:
    letters = each.dead_letters
    dead = _UNKNOWN if letters is None else number(letters.unresolved)
    if letters is not None and letters.in_log != letters.unresolved:
        dead += f" of {number(letters.in_log)}"
    return (
        each.name,
        each.group,
        each.state or _UNKNOWN,
        _counted(each.members),
        _counted(each.lag),
        _age(each.lag, each.lag_seconds),
        _counted(each.in_flight),
        _counted(each.parked),
        dead,
    )


def _partition_row(function: str, each: PartitionStatus) -> tuple[str, ...]:
    parked = [f"@{offset} ({count} attempt{'s' * (count != 1)})" for offset, count in sorted(each.parked.items())]
    more = f" and {len(parked) - _SHOWN} more" if len(parked) > _SHOWN else ""
    return (
        function,
        each.stream,
        str(each.number),
        number(each.committed),
        number(each.end),
        number(each.lag),
        _age(each.lag, each.lag_seconds),
        _counted(each.in_flight),
        number(each.done_beyond),
        ", ".join(parked[:_SHOWN]) + more or "0",
    )


def _counted(value: int | None) -> str:
    return _UNKNOWN if value is None else number(value)


def _age(lag: int | None, seconds: float | None) -> str:
    if lag is None or seconds is None:
        return _UNKNOWN
    return duration(seconds) if lag else "-"


def _as_json(each: FunctionStatus) -> dict[str, Any]:
    letters = each.dead_letters
    return {
        "function": each.name,
        "group": each.group,
        "state": each.state,
        "control": None if each.control is None else each.control.as_json(),
        "members": each.members,
        "lag": each.lag,
        "lag_seconds": each.lag_seconds,
        "in_flight": each.in_flight,
        "parked": each.parked,
        "dead_letters": None
        if letters is None
        else {"topics": letters.topics, "in_log": letters.in_log, "unresolved": letters.unresolved},
        "partitions": None if each.partitions is None else [_partition_as_json(one) for one in each.partitions],
        "missing_streams": each.missing,
        "problems": each.problems,
    }


def _partition_as_json(each: PartitionStatus) -> dict[str, Any]:
    return {
        "stream": each.stream,
        "partition": each.number,
        "committed": each.committed,
        "position": each.position,
        "end": each.end,
        "lag": each.lag,
        "lag_seconds": each.lag_seconds,
        "in_flight": each.in_flight,
        "done_beyond": each.done_beyond,
        "parked": [{"offset": offset, "attempts": count} for offset, count in sorted(each.parked.items())],
    }
