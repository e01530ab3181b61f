"""``dispatch invoke``: one function on given events."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_objects
from dispatcher.cli.options import app_argument, broker_option, open_broker, run_async
from dispatcher.cli.output import colours, command, fail, print_lines, stderr_console
from dispatcher.cli.shelves import find_function
from dispatcher.telemetry.text import duration, printable

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.cli.trial import Fate, Given, Invoked
    from dispatcher.core.record import Outgoing, Record

__all__ = ["invoke"]

_PLACE = re.compile(r"(?P<stream>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})@(?P<offset>\d{1,18})")
_COLOURS = {"done": "green", "filtered": None, "retry": "yellow", "given_up": "red"}


@click.command()
@click.argument("function", metavar="FN")
@app_argument
@click.option(
    "-e",
    "--event",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE|-",
    help="JSON lines: values, or records with key, headers and value. - is stdin.",
)
@click.option("--from", "place", metavar="STREAM/PARTITION@OFFSET", help="Take a real event from the broker instead.")
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Events from there on.")
@click.option(
    "--attempt", type=click.IntRange(1), default=1, show_default=True, help="Which delivery it is said to be."
)
@click.option("--values/--records", "values", default=None, help="What each line is.  [default: told by its fields]")
@broker_option
@output_option
def invoke(
    function: str,
    app: tuple[str, ...],
    file: str | None,
    place: str | None,
    count: int,
    attempt: int,
    values: bool | None,
    broker: str,
    output: Format,
) -> None:
    """Run one function on given events. Nothing is committed and nothing is produced.

    FN is the function's name, looked for in APP (this folder, when none is named). It runs as in `dispatch run`: decoded,
    filtered, timed; what it returns would be emitted, what it raises would be tried again. Exits 1 when an event is not done.
    """
    if (file is None) == (place is None):
        raise click.UsageError("give events with -e FILE (- is stdin), or take one with --from STREAM/PARTITION@OFFSET")
    from dispatcher.cli.trial import GivenEventError, Trial, read_events
    from dispatcher.telemetry.logs import configure

    configure(stderr_console(), level="info", style="text")
    found = find_function(function, app)
    binding = found.binding
    given: Given = "auto" if values is None else "values" if values else "records"
    if place is not None:
        records = run_async(_fetched(place, count, broker))
    else:
        try:
            records = read_events(_lines(file or "-"), binding.streams[0], given)
        except GivenEventError as error:
            fail(f"{'stdin' if file == '-' else file}: {error}")
            raise SystemExit(1) from None
        if not records:
            raise click.UsageError("there is no event in what was given")
    from dispatcher.invokers.making import make_invoker

    trial = Trial(binding, attempt=attempt, invoker=make_invoker(binding, found.target))
    invoked = run_async(trial.run(records))
    _print(binding, invoked, attempt, output)
    code = int(any(fate.outcome in ("retry", "given_up") for each in invoked for fate in each.fates))
    if trial.abandoned:
        # A thread can't be stopped, and the interpreter would wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def _lines(file: str) -> list[bytes]:
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return data.split(b"\n")


async def _fetched(place: str, count: int, url: str) -> list[Record]:
    from dispatcher.core.record import TopicPartition
    from dispatcher.errors import ConfigurationError, OffsetOutOfRange

    match = _PLACE.fullmatch(place)
    if match is None:
        raise click.UsageError(f"--from {place}: write it as STREAM/PARTITION@OFFSET, such as orders/0@1200")
    partition, offset = TopicPartition(match["stream"], int(match["partition"])), int(match["offset"])
    async with open_broker(url, must_exist=True) as broker:
        try:
            records = (await broker.read({partition: offset}, max_records=count))[partition]
        except OffsetOutOfRange as error:
            error.add_note(command("streams", "show", partition.topic, broker=url))
            raise
    if not records:
        at_the_end = ConfigurationError(f"there is no event at {place} yet: its log ends there")
        at_the_end.add_note(command("streams", "show", partition.topic, broker=url))
        raise at_the_end
    return list(records)


def _print(binding: Binding, invoked: list[Invoked], attempt: int, output: Format) -> None:
    if output == "text":
        for each in invoked:
            print_lines(_as_lines(binding, each, attempt))
        return
    print_objects(output, [_as_json(binding, each, attempt) for each in invoked])


def _as_lines(binding: Binding, invoked: Invoked, attempt: int) -> list[str]:
    lines = []
    for fate in invoked.fates:
        word = click.style(fate.outcome.replace("_", " "), fg=_COLOURS[fate.outcome], bold=True)
        if colours() is False or not sys.stdout.isatty():
            word = click.unstyle(word)
        took = "" if fate.outcome == "filtered" else f" in {_took(invoked.seconds)}"
        lines.append(f"{fate.id}: {word}{took}{_consequence(binding, fate, attempt)}")
        if fate.failure is not None:
            lines.append(f"    {printable(fate.failure.error_type)}: {printable(fate.failure.message)}")
    if invoked.trace:
        lines += ["", *(f"    {printable(line)}" for line in invoked.trace.splitlines()), ""]
    if invoked.returned is not None and not invoked.emitted:
        lines.append(f"    returned {printable(repr(invoked.returned))}")
    lines += [f"    would emit to {each.topic}: {_emit_line(each)}" for each in invoked.emitted]
    return lines


def _took(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _consequence(binding: Binding, fate: Fate, attempt: int) -> str:
    if fate.outcome == "filtered":
        return f": where={binding.where!r} leaves it out"
    if fate.verdict is None:
        return ""
    if fate.verdict.reason is None:
        return (
            f"; attempt {attempt} of {binding.retry.max_attempts},"
            f" the next would come within {duration(fate.verdict.delay)}"
        )
    fates = {
        "dead_letter": f"it would go to {binding.dead_letter_topic(_source(binding, fate))}",
        "pause": "the function would pause",
        "drop": "it would be dropped",
    }
    return f" ({fate.verdict.reason.value.replace('_', ' ')}); {fates[binding.retry.then]}"


def _source(binding: Binding, fate: Fate) -> str:
    return fate.record.topic if fate.record.topic in binding.streams else binding.streams[0]


def _emit_line(record: Outgoing) -> str:
    value = "null" if record.value is None else record.value.decode(errors="backslashreplace")
    key = "" if record.key is None else f"key={printable(record.key.decode(errors='backslashreplace'))} "
    return key + printable(value)


def _as_json(binding: Binding, invoked: Invoked, attempt: int) -> dict[str, Any]:
    return {
        "function": binding.name,
        "attempt": attempt,
        "seconds": round(invoked.seconds, 6),
        "events": [_fate_as_json(fate) for fate in invoked.fates],
        "returned": _plain(invoked.returned),
        "emitted": [_emit_as_json(each) for each in invoked.emitted],
        "traceback": invoked.trace or None,
    }


def _fate_as_json(fate: Fate) -> dict[str, Any]:
    failure, verdict = fate.failure, fate.verdict
    return {
        "event": fate.id,
        "outcome": fate.outcome,
        "error_type": failure.error_type if failure else None,
        "error_message": failure.message if failure else None,
        "retry_within": verdict.delay if verdict and verdict.reason is None else None,
        "reason": verdict.reason.value if verdict and verdict.reason else None,
    }


def _emit_as_json(record: Outgoing) -> dict[str, Any]:
    from bindings.envelopes.record import WireRecord
    from dispatcher.cli.tailing import as_json

    shown = as_json(WireRecord(record.topic, 0, 0, 0, record.key, record.value, record.headers))
    return {name: value for name, value in shown.items() if name not in ("partition", "offset", "timestamp_ms")}


def _plain(value: Any) -> Any:
    """What a function returned, as JSON where it can be, else as Python would show it."""
    import json

    from bindings.errors import InvalidOutcome
    from bindings.results import encode

    try:
        return json.loads(encode(value) or b"null") if not isinstance(value, str | bytes) else str(value)
    except (InvalidOutcome, ValueError):
        return repr(value)
