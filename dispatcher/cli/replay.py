"""``dispatch replay``: history delivered again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.confirm import audit, confirm, confirm_options
from dispatcher.cli.formats import Format, output_option
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
from dispatcher.cli.output import command, print_json, print_table, stderr_console, talk
from dispatcher.cli.replays import Ended, list_replays, note_replay
from dispatcher.cli.shadowing import ShadowCommand, shadow_binding
from dispatcher.cli.shelves import find_function
from dispatcher.cli.when import position
from dispatcher.errors import ConfigurationError
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bindings.binding import Binding
    from dispatcher.brokers.base import Broker
    from dispatcher.config.functions import Function
    from dispatcher.core.record import TopicPartition
    from dispatcher.replay import Move, Plan
    from dispatcher.telemetry.summary import Summary
    from dispatcher.times import Position

__all__ = ["replay"]


@click.command()
@click.argument("function", metavar="[FN]", required=False)
@app_argument
@click.option(
    "--from",
    "start",
    type=position,
    metavar="WHERE",
    help="-2h (a time back; also ms, s, m, d, w), an ISO 8601 time, earliest, or @OFFSET of each partition.",
)
@click.option(
    "--to",
    "stop",
    type=position,
    default="latest",
    metavar="WHERE",
    help="The same, and not delivered itself.  [default: now]",
)
@click.option("--id", "replay_id", metavar="NAME", help="A name, by which a replay that was killed goes on.")
@click.option("--stream", multiple=True, metavar="STREAM", help="Only this one of its streams. May be given again.")
@click.option("--partition", multiple=True, type=click.IntRange(0), metavar="N", help="Only this. May be given again.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Calls a second, at the most.")
@click.option(
    "--list", "listed", is_flag=True, help="Only show which replays there were, of FN or all, and how far they are."
)
@click.option("--no-emit", is_flag=True, help="Leave out what the function returns or emits.")
@click.option("--reset", is_flag=True, help="Move the function's own group there instead; it must not run meanwhile.")
@click.option(
    "--shadow",
    metavar="MODULE:FUNCTION",
    help="Deliver nothing: run this new version, and compare what it makes of the events. Exit code 1 for differences.",
)
@click.option(
    "--against",
    metavar="emitted|FN",
    help="Compare it with what was emitted, or with a function run beside it.  [default: emitted, where FN emits]",
)
@click.option(
    "--differences", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Show the first so many."
)
@click.option("--ignore", multiple=True, metavar="PATH", help="A field of results that may differ. May be given again.")
@click.option("--dry-run", is_flag=True, help="Only say how many events that is.")
@confirm_options
@broker_option
@app_option
@output_option
def replay(
    function: str | None,
    app: tuple[str, ...],
    start: Position | None,
    stop: Position,
    replay_id: str | None,
    stream: tuple[str, ...],
    partition: tuple[int, ...],
    rate: float | None,
    listed: bool,
    no_emit: bool,
    reset: bool,
    shadow: str | None,
    against: str | None,
    differences: int,
    ignore: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    no_input: bool,
    broker: str,
    name: str | None,
    output: Format,
) -> None:
    """Deliver history to a function again, and end there.

    It has a consumer group of its own: what runs live goes on, untouched. Retries wait in their place; dead letters go
    where they always go, and make it exit 1. What the function emits goes to its output stream, unless --no-emit.
    One that was killed goes on with the same --id, which takes its places from then.

    With --shadow nothing is delivered to it, committed, emitted or dead-lettered: a new version of the function is run over
    the events, and what it makes of them is compared.
    """
    if listed:
        run_async(list_replays(app_name(app, name), function, broker, output))
        return
    if function is None:
        raise click.UsageError("of which function? FN, or --list")
    found = find_function(function, app)
    if unknown := [each for each in stream if each not in found.binding.streams]:
        raise click.UsageError(f"--stream {unknown[0]}: {function} consumes {', '.join(found.binding.streams)}")
    job = _Replay(found, app_name(app, name), broker, output, rest=same_app(app, name))
    where = {"streams": stream, "only": partition}
    if shadow is not None:
        if start is None or reset or replay_id or no_emit:
            raise click.UsageError("--shadow takes --from, and none of --reset, --id, --no-emit")
        comparison = ShadowCommand(
            found.binding,
            shadow_binding(shadow, found.binding),
            against,
            targets=app,
            app=app_name(app, name),
            url=broker,
            output=output,
        )
        run_async(
            comparison.work(
                start,
                stop,
                rate=rate,
                keep=differences,
                ignore=ignore,
                dry_run=dry_run,
                yes=yes,
                no_input=no_input,
                **where,
            )
        )
        raise SystemExit(comparison.exit_code)
    if against is not None or ignore:
        raise click.UsageError("--against and --ignore are of --shadow")
    if reset:
        if start is None or stop != "latest" or replay_id or rate or no_emit:
            raise click.UsageError("--reset takes --from, and none of --to, --id, --rate, --no-emit")
        run_async(job.reset(start, dry_run=dry_run, yes=yes, no_input=no_input, **where))
        return
    if start is None and replay_id is None:
        raise click.UsageError("from where? --from -2h, a time, earliest or @OFFSET; or --id of a replay to go on with")
    run_async(
        job.work(
            start,
            stop,
            replay_id=replay_id,
            rate=rate,
            emit=not no_emit,
            dry_run=dry_run,
            yes=yes,
            no_input=no_input,
            **where,
        )
    )
    raise SystemExit(job.exit_code)


class _Replay:
    """One replay or reset: plan, question, work, summary."""

    def __init__(self, function: Function, app: str, url: str, output: Format, *, rest: tuple[str, ...]) -> None:
        self._binding = function.binding
        self._target = function.target
        self._app = app
        self._url = url
        self._output = output
        self._rest = rest
        self.exit_code = 0

    async def work(
        self,
        start: Position | None,
        stop: Position,
        *,
        replay_id: str | None,
        rate: float | None,
        emit: bool,
        dry_run: bool,
        yes: bool,
        no_input: bool,
        **where: Any,
    ) -> None:
        from dispatcher.replay import make_plan, new_id, replayed, resume_plan, save

        name = _checked(replay_id or new_id())
        binding = replayed(self._binding, rate=rate)
        async with open_broker(self._url, must_exist=True) as broker:
            plan = await resume_plan(broker, binding, app=self._app, name=name) if replay_id else None
            if plan is None:
                if start is None:
                    raise ConfigurationError(
                        f"there is no replay {name} of {binding.name} to go on with: give --from, to begin one"
                    )
                plan = await make_plan(broker, binding, app=self._app, name=name, start=start, stop=stop, **where)
            self._show(plan, dry_run=dry_run)
            if dry_run or not plan.events:
                if self._output != "text":
                    self._print(plan, {"dry_run": dry_run, "result": None})
                return
            self._tell_of_emits(emit=emit)
            confirm(f"Deliver {number(plan.events)} events to {binding.name} again?", yes=yes, no_input=no_input)
            if not plan.resumed:
                await save(broker, plan)
            await note_replay(broker, self._app, binding.name, plan, "running")
            summary, forced = await self._run(broker, binding, plan, emit=emit)
            ended: Ended = "aborted" if summary.signal is not None else "failed" if summary.failures else "done"
            await note_replay(broker, self._app, binding.name, plan, ended)
            self.exit_code = summary.exit_code(until_caught_up=True)
            self._conclude(summary, plan, emit=emit, rate=rate)
        if forced:
            # A function in a thread can't be cancelled, and the interpreter would wait for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_code)

    async def _run(self, broker: Broker, binding: Binding, plan: Plan, *, emit: bool) -> tuple[Summary, bool]:
        from dispatcher.cli.progress import progress
        from dispatcher.invokers.making import make_invoker
        from dispatcher.server import Server
        from dispatcher.telemetry.logs import configure
        from dispatcher.telemetry.summary import handled
        from dispatcher.telemetry.tracing import opened
        from dispatcher.worker import Worker

        console = stderr_console()
        configure(console, level="warning")
        settings = configuration().named(self._app)
        async with opened(settings) as tracing:
            worker = Worker(
                binding,
                broker,
                app=self._app,
                settings=settings,
                invoker=make_invoker(binding, self._target),
                tracing=tracing,
                span=plan.span(emit=emit),
            )
            async with progress("replayed", plan.events, lambda: handled(worker.statistics()), console):
                summary = await Server([worker]).run()
        return summary, worker.has_abandoned_threads or summary.forced

    async def reset(self, start: Position, *, dry_run: bool, yes: bool, no_input: bool, **where: Any) -> None:
        """Move the live group."""
        from dispatcher.replay import plan_reset, require_idle, reset

        async with open_broker(self._url, must_exist=True) as broker:
            moves = await plan_reset(broker, self._binding, app=self._app, start=start, **where)
            self._show_moves(moves)
            if dry_run:
                return
            live = f"{self._app}.{self._binding.name}"
            await require_idle(broker, self._binding, app=self._app)
            confirm(f"Move the group {live}? Its function gets all of that again.", yes=yes, no_input=no_input)
            await reset(broker, self._binding, moves, app=self._app)
            before = {f"{id_.topic}/{id_.partition}": move.before for id_, move in moves.items()}
            after = {f"{id_.topic}/{id_.partition}": move.after for id_, move in moves.items()}
            facts = {"function": self._binding.name, "group": live, "broker": broker.url}
            audit(configuration().settings.data, "replay --reset", facts | {"before": before, "after": after})
        talk(f"moved {live}; {command('run', *self._rest, broker=self._url)} goes on there")

    def _show(self, plan: Plan, *, dry_run: bool) -> None:
        if plan.resumed:
            talk(f"replay {plan.id} of {self._binding.name} goes on: its places are those that it was begun with")
        if self._output == "text":
            rows = [
                (f"{id_.topic}/{id_.partition}", number(at), number(plan.ends[id_]), number(plan.ends[id_] - at))
                for id_, at in sorted(plan.starts.items())
            ]
            rows.append(("total", "", "", number(plan.events)))
            if dry_run:
                print_table(("PARTITION", "FROM", "TO", "EVENTS"), rows, right=(1, 2, 3))
            else:
                from dispatcher.telemetry.text import columns

                talk(*columns([("PARTITION", "FROM", "TO", "EVENTS"), *rows], right=(1, 2, 3)))
        if not plan.events:
            talk("nothing is left of it" if plan.resumed else "there is nothing to replay")

    def _tell_of_emits(self, *, emit: bool) -> None:
        if self._binding.emits is not None and emit:
            talk(
                f"what it emits goes to {self._binding.emits} once more, like that of a live delivery; --no-emit leaves"
                " it out",
                style="yellow",
            )

    def _conclude(self, summary: Summary, plan: Plan, *, emit: bool, rate: float | None) -> None:
        from dispatcher.telemetry.summary import handled, render

        [statistics] = summary.functions
        if self._output != "text":
            result = {"handled": handled(statistics), **summary.as_json()["functions"][0]}
            self._print(plan, {"dry_run": False, "result": result, "signal": summary.signal, "forced": summary.forced})
        look = command("dlq", "list", self._binding.name, *self._rest, broker=self._url)
        talk("", *render(summary, look=look))
        if summary.signal is not None or summary.failures:
            # Only the places are kept: what it spares is said again, or it would not be spared.
            spared = (*(() if emit else ("--no-emit",)), *(() if rate is None else ("--rate", f"{rate:g}")))
            again = command("replay", self._binding.name, *self._rest, "--id", plan.id, *spared, broker=self._url)
            talk(f"it is not through; it goes on with {again}")

    def _print(self, plan: Plan, facts: Mapping[str, Any]) -> None:
        partitions = [
            {"stream": id_.topic, "partition": id_.partition, "from": at, "to": plan.ends[id_]}
            for id_, at in sorted(plan.starts.items())
        ]
        head = {"function": self._binding.name, "id": plan.id, "group": plan.group, "resumed": plan.resumed}
        print_json(
            head | {"events": plan.events, "partitions": partitions} | dict(facts), lines=self._output == "jsonl"
        )

    def _show_moves(self, moves: Mapping[TopicPartition, Move]) -> None:
        if self._output != "text":
            print_json(
                [
                    {
                        "stream": id_.topic,
                        "partition": id_.partition,
                        "before": None if move.before is None else move.before.offset,
                        "after": move.after,
                    }
                    for id_, move in sorted(moves.items())
                ],
                lines=self._output == "jsonl",
            )
            return
        rows = []
        for id_, move in sorted(moves.items()):
            before = None if move.before is None else move.before.offset
            change = "-" if before is None else f"{move.after - before:+,}"
            rows.append((f"{id_.topic}/{id_.partition}", number(before), number(move.after), change))
        print_table(("PARTITION", "BEFORE", "AFTER", "CHANGE"), rows, right=(1, 2, 3))


def _checked(name: str) -> str:
    from bindings.policies import check_stream_name

    try:
        return check_stream_name(name)
    except ValueError:
        raise click.UsageError(f"--id {name!r}: letters, digits, dots, underscores and dashes") from None
