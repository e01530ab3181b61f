"""``dispatch replay --list``: the replays of an app, and how far they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from dispatcher.cli.confirm import who
from dispatcher.cli.formats import Format, print_found
from dispatcher.cli.options import open_broker
from dispatcher.cli.output import talk
from dispatcher.errors import BrokerError
from dispatcher.telemetry.text import duration, number

if TYPE_CHECKING:
    from dispatcher.brokers.base import Broker
    from dispatcher.replay import Plan

__all__ = ["Ended", "list_replays", "note_replay"]

Ended = Literal["done", "aborted", "failed"]

_KIND = "replay"
_HEADER = ("REPLAY", "FUNCTION", "BEGAN", "BY", "STATE", "EVENTS", "LEFT")


async def note_replay(broker: Broker, app: str, function: str, plan: Plan, state: Ended | Literal["running"]) -> None:
    """Write down that a replay begins or ends. It goes on by its commits, so one that can't be written down is only not listed."""
    from dispatcher.deadletters import Journal

    journal, name = Journal(broker, app), f"{function}/{plan.id}"
    now_ms = time.time_ns() // 1_000_000
    facts: dict[str, Any] = {"function": function, "id": plan.id, "group": plan.group, "events": plan.events}
    facts |= {"by": who(), "started_ms": now_ms}
    facts["ends"] = [[id_.topic, id_.partition, end] for id_, end in sorted(plan.ends.items())]
    try:
        begun = (await journal.read(_KIND)).get(name) if plan.resumed or state != "running" else None
        await journal.write(_KIND, name, (begun or facts) | {"state": state, "updated_ms": now_ms})
    except BrokerError as error:
        talk(f"this replay is not written down: {error}", style="yellow")


async def list_replays(app: str, function: str | None, url: str, output: Format) -> None:
    """Print them, the latest first."""
    from dispatcher.deadletters import Journal

    found = []
    async with open_broker(url, must_exist=True) as broker:
        for document in (await Journal(broker, app).read(_KIND)).values():
            # Whoever may write to the journal may write anything.
            with contextlib.suppress(KeyError, TypeError, ValueError):
                if function in (None, document["function"]):
                    found.append(await _stands(broker, document))
    found.sort(key=lambda facts: facts["started_ms"], reverse=True)
    if output != "text" or found:
        print_found(output, found, _HEADER, _row, right=(2, 5, 6))
    if not found:
        talk(f"no replays of {function or app} are known")


async def _stands(broker: Broker, document: Mapping[str, Any]) -> dict[str, Any]:
    from dispatcher.core.record import TopicPartition

    ends = {TopicPartition(str(topic), int(partition)): int(end) for topic, partition, end in document["ends"]}
    commits = await broker.committed(str(document["group"]), list(ends))
    state = str(document["state"])
    if state == "running" and not await broker.group_members(str(document["group"])):
        state = "interrupted"
    # A group's commits may be forgotten: then nobody knows what is left.
    known = all(commits.get(id_) is not None for id_ in ends)
    left = sum(max(0, end - commit.offset) for id_, end in ends.items() if (commit := commits.get(id_)) is not None)
    facts = {name: document[name] for name in ("function", "id", "by", "started_ms", "events")}
    return facts | {"started_ms": int(document["started_ms"]), "state": state, "left": left if known else None}


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(facts["id"]),
        str(facts["function"]),
        f"{duration(max(0.0, time.time() - facts['started_ms'] / 1000))} ago",
        str(facts["by"]),
        facts["state"],
        number(facts["events"]),
        number(facts["left"]),
    )
