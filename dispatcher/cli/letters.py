"""How a dead letter is shown."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.tailing import as_json as event_as_json
from dispatcher.core.record import TopicPartition
from dispatcher.telemetry.text import columns, duration, moment, printable

if TYPE_CHECKING:
    from dispatcher.deadletters import Found

__all__ = ["HEADER", "RIGHT", "as_json", "as_text", "place_of", "row"]

HEADER = ("LETTER", "EVENT", "AGE", "REASON", "ERROR", "ATTEMPTS", "REDRIVES", "STATE")
RIGHT = (2, 5, 6)

_PLACE = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+)/)?(?P<partition>\d+)@(?P<offset>\d+)", re.ASCII)
_ERROR_WIDTH = 60


def place_of(text: str, topics: Sequence[str]) -> tuple[TopicPartition, int]:
    """Read ``[TOPIC/]PARTITION@OFFSET``.

    Raises:
        click.UsageError: it is none, or leaves it open which topic is meant.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is no dead letter: write PARTITION@OFFSET as `dispatch dlq list` does")
    topic = match["topic"]
    if topic is None and len(topics) > 1:
        raise click.UsageError(f"{text} of which: {', '.join(topics)}? Write TOPIC/{text}")
    return TopicPartition(topic or topics[0], int(match["partition"])), int(match["offset"])


def row(found: Found, *, short: bool) -> tuple[str, ...]:
    """One line of the table; ``short`` leaves out the topic, when there is one alone."""
    letter = found.letter
    place = f"{letter.id.partition}@{letter.offset}" if short else letter.place
    error = f"{letter.error_type}: {letter.error_message}".partition("\n")[0]
    if len(error) > _ERROR_WIDTH:
        error = f"{error[: _ERROR_WIDTH - 3]}..."
    age = duration(max(0.0, time.time() - letter.written / 1000))
    state = "resolved" if found.resolved else "open"
    return place, letter.event, age, letter.reason, error, str(letter.attempts), str(letter.redrives), state


def as_json(found: Found) -> dict[str, Any]:
    """A dead letter as a JSON object; ``event`` is what ``streams tail --json`` prints of an event."""
    letter = found.letter
    return {
        "letter": letter.place,
        "resolved": found.resolved,
        **letter.provenance(),
        "event": event_as_json(letter.origin),
    }


def as_text(found: Found) -> Iterator[str]:
    """A dead letter for a person, all of it."""
    letter, event = found.letter, event_as_json(found.letter.origin)
    facts = [
        ("letter", letter.place),
        ("state", "resolved" if found.resolved else "open"),
        ("event", letter.event),
        ("event time", _time(letter.origin.timestamp)),
        ("key", "-" if event["key"] is None else str(event["key"])),
        ("function", letter.function),
        ("reason", letter.reason),
        ("attempts", str(letter.attempts)),
        ("redrives", str(letter.redrives)),
        ("first failure", _time(letter.first_failure)),
        ("last failure", _time(letter.last_failure)),
        ("dead since", _time(letter.written)),
        *([("written by", letter.writer)] if letter.writer else []),
        ("fingerprint", letter.fingerprint),
        ("raised at", letter.raised_at or "-"),
        ("error", letter.error_type),
    ]
    yield from columns(facts)
    for line in letter.error_message.splitlines():
        yield f"    {printable(line)}"
    if letter.cut is not None:
        yield f"value         cut from {letter.cut:,} bytes: its topic did not take more; a redrive takes the whole from its stream"
    if event["headers"]:
        yield "headers"
        for header in event["headers"]:
            yield f"    {printable(header['name'])}: {'-' if header['value'] is None else printable(header['value'])}"
    yield f"value ({event['value_type']})"
    shown = json.dumps(event["value"], indent=2) if event["value_type"] == "json" else str(event["value"] or "-")
    for line in shown.splitlines():
        yield f"    {printable(line)}"


def _time(milliseconds: int) -> str:
    if not milliseconds:
        return "-"
    return moment(milliseconds)
