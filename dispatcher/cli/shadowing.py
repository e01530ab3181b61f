"""``dispatch replay --shadow``: a new version over history, compared with the old one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.confirm import confirm
from dispatcher.cli.formats import Format
from dispatcher.cli.options import functions, open_broker
from dispatcher.cli.output import print_json, print_lines, print_table, stderr_console, talk
from dispatcher.cli.shelves import function_named
from dispatcher.telemetry.text import number, printable

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.replay import Plan
    from dispatcher.shadow import Comparison, Difference, Kind, Side
    from dispatcher.times import Position

__all__ = ["ShadowCommand", "shadow_binding"]

_KINDS: dict[Kind, str] = {
    "changed": "other results",
    "broken": "only the new one fails",
    "mended": "only the old one failed",
    "other": "other errors or filters",
}


def shadow_binding(target: str, old: Binding) -> Binding:
    """The new version: the function that the target names, or of several the one with the old one's name.

    Raises:
        click.UsageError: it names several others, or the old one itself.
    """
    found = [function.binding for function in functions((target,))]
    named = [binding for binding in found if binding.name == old.name]
    if len(found) > 1 and len(named) != 1:
        names = ", ".join(sorted(binding.name for binding in found))
        raise click.UsageError(f"--shadow {target}: which of {names}? Write {target}:FUNCTION")
    new = found[0] if len(found) == 1 else named[0]
    if new.function is old.function:
        raise click.UsageError(f"--shadow {target} is the very function that it would be compared with")
    return new


class ShadowCommand:
    """One comparison: plan, question, work, summary.

    Args:
        old: the function that consumes the stream.
        new: the version that is to be.
        against: ``emitted``, or the name of a function of the app; None for what fits.
        targets: where the app's functions are.
    """

    def __init__(
        self,
        old: Binding,
        new: Binding,
        against: str | None,
        *,
        targets: tuple[str, ...],
        app: str,
        url: str,
        output: Format,
    ) -> None:
        self._old, self._new = old, new
        self._app, self._url, self._output = app, url, output
        self._against: Binding | None = old
        if against == "emitted" or (against is None and old.emits is not None and not old.signature.batch):
            self._against = None
            self._check_emitted()
        elif against is not None:
            self._against = function_named(against, targets)
        self._name = "emitted" if self._against is None else self._against.name
        self.exit_code = 0

    def _check_emitted(self) -> None:
        if self._old.emits is None:
            raise click.UsageError(f"{self._old.name} emits nothing: --against {self._old.name} runs it beside")
        if self._old.signature.batch or self._new.signature.batch:
            raise click.UsageError(
                "a batch's results say of its first event alone that they come of it, and no batch comes twice:"
                f" --against {self._old.name} runs both over the same batches"
            )

    async def work(
        self,
        start: Position,
        stop: Position,
        *,
        rate: float | None,
        keep: int,
        ignore: tuple[str, ...],
        dry_run: bool,
        yes: bool,
        no_input: bool,
        **where: Any,
    ) -> None:
        """Do it all. Exit code 1 for differences."""
        from dispatcher.cli.progress import progress
        from dispatcher.replay import make_plan
        from dispatcher.shadow import Emitted, Running, Shadow

        async with open_broker(self._url, must_exist=True) as broker:
            plan = await make_plan(broker, self._old, app=self._app, name="shadow", start=start, stop=stop, **where)
            self._show(plan)
            if dry_run or not plan.events:
                return
            confirm(f"Run {self._ran()} over {number(plan.events)} events?", yes=yes, no_input=no_input)
            emits = self._new.emits or (self._against or self._old).emits
            new, old = Running(self._new, emits=emits), None
            side: Side
            if self._against is None:
                side = emitted = await Emitted.read(broker, self._old, plan, app=self._app)
                talk(f"results of these events in {self._old.emits}: {number(emitted.found)}")
            else:
                side = old = Running(self._against, emits=emits)
            sizes = [
                each.batch.max_events
                for each in (self._new, self._against)
                if each is not None and each.signature.batch
            ]
            shadow = Shadow(
                broker,
                plan,
                self._new,
                old=side,
                new=new,
                size=max(sizes, default=1),
                keep=keep,
                ignore=ignore,
                rate=rate,
                filtered_is_done=self._against is None,
            )
            try:
                async with progress("compared", plan.events, lambda: shadow.comparison.events, stderr_console()):
                    await shadow.run()
            finally:
                self._conclude(shadow.comparison, plan)
            for each in (new, old):
                if each is not None:
                    await each.close()
        if new.abandoned or (old is not None and old.abandoned):
            # A function in a thread can't be stopped, and the interpreter would wait for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_code)

    def _ran(self) -> str:
        both = "" if self._against is None else f", and {self._against.name} as it is,"
        return f"the new {self._new.name}{both}"

    def _show(self, plan: Plan) -> None:
        versus = (
            f"what {self._old.name} emitted" if self._against is None else f"{self._against.name} on the same events"
        )
        talk(f"{number(plan.events)} events: the new {self._new.name} ({_place(self._new)}) against {versus}")
        talk("nothing is committed, emitted or dead-lettered; what a function calls by itself it calls", style="yellow")
        if self._new.emits is None and (self._against or self._old).emits is None:
            talk("neither emits: only whether they fail is compared", style="yellow")

    def _conclude(self, found: Comparison, plan: Plan) -> None:
        different = sum(found.kinds.values())
        self.exit_code = int(different > 0)
        if self._output != "text":
            facts = {
                "function": self._old.name,
                "shadow": _place(self._new),
                "against": self._name,
                "planned": plan.events,
                "events": found.events,
                "same": found.same,
                "different": {kind: found.kinds[kind] for kind in _KINDS},
                "differences": [_as_json(each) for each in found.differences],
            }
            print_json(facts, lines=self._output == "jsonl")
            return
        rows = [("same", number(found.same))]
        rows += [(text, number(found.kinds[kind])) for kind, text in _KINDS.items() if found.kinds[kind]]
        print_table(("EVENTS", "HOW MANY"), rows, right=(1,))
        for each in found.differences:
            print_lines(["", f"{each.event}  key={_key(each)}  {_KINDS[each.kind]}", *_lines(each)])
        if different > len(found.differences):
            talk(f"and {number(different - len(found.differences))} more: --differences N shows more of them")


def _lines(difference: Difference) -> list[str]:
    lines = [f"    {printable(str(change))}" for change in difference.changes]
    return [*lines, f"    {printable(difference.why.partition(chr(10))[0])}"] if difference.why else lines


def _key(difference: Difference) -> str:
    key = difference.records[0].key
    return "-" if key is None else printable(key.decode(errors="backslashreplace"))


def _as_json(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "event": difference.event,
        "key": None if (key := difference.records[0].key) is None else key.decode(errors="backslashreplace"),
        "timestamp_ms": difference.records[0].timestamp,
        "changes": [change.as_json() for change in difference.changes],
        "why": difference.why or None,
    }


def _place(binding: Binding) -> str:
    return f"{binding.function.__module__}:{binding.function.__qualname__}"
