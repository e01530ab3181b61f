"""``dispatch run``: deliver events to functions, until stopped or caught up."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Literal

import click

from dispatcher.cli.formats import Format, output_option
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    functions,
    only_option,
    open_broker,
    run_async,
    same_app,
)
from dispatcher.cli.output import command, print_json, stderr_console, talk
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from rich.console import Console

    from bindings.binding import Binding
    from dispatcher.brokers.base import Broker
    from dispatcher.config import Settings
    from dispatcher.config.functions import Function
    from dispatcher.telemetry.summary import Summary
    from dispatcher.telemetry.watchdog import LoopWatchdog
    from dispatcher.worker import Worker

__all__ = ["run"]

log_level_option = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
log_format_option = click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command()
@app_argument
@broker_option
@app_option
@only_option
@click.option(
    "--until-caught-up",
    is_flag=True,
    help="End when all is settled that the streams held at the start; exit 1 when something became a dead letter.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes in the same consumer groups, under a supervisor that starts a dead one anew.",
)
@click.option("--reload", is_flag=True, help="Go on with the new code when a file of the functions has been saved.")
@log_level_option
@log_format_option
@output_option
def run(
    app: tuple[str, ...],
    broker: str,  # noqa: ARG001 - it is in the settings
    name: str | None,
    only: tuple[str, ...],
    until_caught_up: bool,
    workers: int,
    reload: bool,
    log_level: str,
    log_format: Literal["text", "json"],
    output: Format,
) -> None:
    """Deliver events to functions.

    APP is a folder, a file, a module or module:function; this folder when none is named. Ctrl-C finishes what is in
    flight, a second one stops at once. -o json prints the summary to stdout.
    """
    from dispatcher.telemetry.logs import configure

    console = stderr_console()
    configure(console, level=log_level, style=log_format)
    if workers > 1 or reload:
        from dispatcher.cli.supervising import supervise

        if output != "text":
            raise click.UsageError(f"-o {output} is the summary of one process: leave out --workers and --reload")
        raise SystemExit(supervise(app, workers=workers, reload=reload, until_caught_up=until_caught_up))
    settings = configuration().named(app_name(app, name))
    look = command("dlq", "list", "FN", *same_app(app, name), broker=settings.broker)
    found = functions(app, only)
    # Those left out by --only may run elsewhere, and would send the letters back all the same.
    _refuse_cycles([function.binding for function in (functions(app) if only else found)])
    work = _work(found, settings, console, look, until_caught_up=until_caught_up, output=output)
    summary = run_async(work)
    raise SystemExit(summary.exit_code(until_caught_up=until_caught_up))


def _refuse_cycles(bindings: Sequence[Binding]) -> None:
    from dispatcher.cli.findings import of_routes

    for finding in of_routes(bindings):
        if finding.severity == "error":
            error = ConfigurationError(f"{finding.where}: {finding.message}")
            error.add_note(finding.mend)
            raise error


async def _work(
    found: Sequence[Function], settings: Settings, console: Console, look: str, *, until_caught_up: bool, output: Format
) -> Summary:
    from functools import partial

    from dispatcher.cli.supervising import lifeline
    from dispatcher.control import Control
    from dispatcher.invokers.making import make_invoker
    from dispatcher.server import Server, tune_garbage_collector
    from dispatcher.telemetry.pulse import Pulse
    from dispatcher.telemetry.report import Report
    from dispatcher.telemetry.tracing import opened
    from dispatcher.telemetry.watchdog import LoopWatchdog
    from dispatcher.worker import Worker

    bindings = [function.binding for function in found]
    # In this process only: the watchdog is of its event loop, which others do not block.
    local = [function.binding for function in found if function.target_name == "local"]
    async with open_broker(settings.broker) as broker, opened(settings) as tracing:
        await _require_streams(bindings, broker, settings.broker)
        control = Control(broker, settings.app, create=settings.create_topics) if settings.control == "on" else None
        workers = [
            Worker(
                function.binding,
                broker,
                app=settings.app,
                settings=settings,
                until_caught_up=until_caught_up,
                invoker=make_invoker(function.binding, function.target),
                tracing=tracing,
                on_pause=None if control is None else partial(control.paused_itself, function.binding.name),
            )
            for function in found
        ]
        pulse = Pulse(workers, settings.data, broker.url)
        async with Report(workers, console, title=f"{settings.app} on {broker.url}"), pulse:
            server = Server(workers)
            tune_garbage_collector()
            # What functions print is talk: with -o json, stdout is for the summary alone.
            prints = contextlib.redirect_stdout(sys.stderr) if output != "text" else contextlib.nullcontext()
            controlled = contextlib.nullcontext() if control is None else control.following(workers)
            with prints, LoopWatchdog(local) as watchdog, lifeline(server):
                # Monitoring first: a process that waits for its control stream is alive, and can be seen to be.
                async with _monitoring(workers, bindings, broker, settings, watchdog), controlled:
                    summary = await server.run()
        _tell(summary, look, output)
        if any(worker.has_abandoned_threads for worker in workers) or summary.forced:
            # A function in a thread can't be cancelled, and the interpreter would wait for it.
            if tracing is not None:
                await tracing.end()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(summary.exit_code(until_caught_up=until_caught_up))
    return summary


def _monitoring(
    workers: Sequence[Worker],
    bindings: Sequence[Binding],
    broker: Broker,
    settings: Settings,
    watchdog: LoopWatchdog,
) -> AbstractAsyncContextManager[object]:
    if settings.monitoring is None and settings.otlp is None:
        return contextlib.nullcontext()
    from dispatcher.monitoring import Monitoring

    return Monitoring(workers, bindings, broker, settings=settings, watchdog=watchdog)


async def _require_streams(bindings: Sequence[Binding], broker: Broker, url: str) -> None:
    wanted: dict[str, list[str]] = {}
    for binding in bindings:
        for stream in binding.streams:
            wanted.setdefault(stream, []).append(binding.name)
    there = {info.name for info in await broker.list_streams()}
    missing = [stream for stream in wanted if stream not in there]
    if not missing:
        return
    lines = [f"these streams are not on {broker.url}:"]
    lines += [f"  {stream}, for {', '.join(wanted[stream])}" for stream in missing]
    lines += ["make them, or fill them:"]
    for stream in missing:
        lines.append(f"  {command('streams', 'create', stream, '--partitions', '4', broker=url)}")
        lines.append(f"  {command('send', stream, 'FILE', broker=url)}")
    raise ConfigurationError("\n".join(lines))


def _tell(summary: Summary, look: str, output: Format) -> None:
    from dispatcher.telemetry.summary import render

    if output != "text":
        print_json(summary.as_json(), lines=output == "jsonl")
    talk("", *render(summary, look=look))
