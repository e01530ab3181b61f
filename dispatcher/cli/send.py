"""``dispatch send``: JSON lines into a stream."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option
from dispatcher.cli.options import broker_option, embedded_path, open_broker, run_async
from dispatcher.cli.output import command, fail, print_json, stderr_console, talk
from dispatcher.cli.streams import stream_name
from dispatcher.errors import ConfigurationError
from dispatcher.telemetry.text import duration, number

if TYPE_CHECKING:
    from dispatcher.brokers.base import Broker
    from dispatcher.cli.sending import Sending

__all__ = ["send"]


@click.command()
@click.argument("stream", type=stream_name)
@click.argument("file", default="-", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE|-]")
@click.option("--key", metavar="FIELD", help="The field that is the event's key; a.b for one further down.")
@click.option("--header", multiple=True, metavar="NAME=VALUE", help="A header of each event. May be given again.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Events a second, at the most.")
@click.option("--raw", is_flag=True, help="Send each line as it is, JSON or not.")
@click.option("--create", is_flag=True, help="Make a missing stream on Kafka too.")
@click.option(
    "--partitions", type=click.IntRange(1, 10_000), default=4, show_default=True, help="Of a stream that is made."
)
@broker_option
@output_option
def send(
    stream: str,
    file: str,
    key: str | None,
    header: tuple[str, ...],
    rate: float | None,
    raw: bool,
    create: bool,
    partitions: int,
    broker: str,
    output: Format,
) -> None:
    """Send JSON lines, each of which is the value of one event.

    FILE is - for stdin. Blank lines are left out. At a line that is not JSON, or has no key, it stops: the lines
    before it are sent, and their number is told. -o json prints the numbers to stdout.
    """
    if raw and key:
        raise click.UsageError("--raw does not look into the lines, so --key has nothing to find")
    if bad := [pair for pair in header if "=" not in pair]:
        raise click.UsageError(f"--header {bad[0]}: write it as NAME=VALUE")
    headers = tuple((name, value.encode()) for name, _, value in (pair.partition("=") for pair in header))
    if file == "-" and sys.stdin.isatty():
        talk("reading JSON lines; Ctrl-D ends them")

    from dispatcher.cli.sending import LineError, Sending

    sending = Sending(stream, key=key, headers=headers, rate=rate, raw=raw)
    began = time.monotonic()
    made = create or embedded_path(broker) is not None
    try:
        run_async(_work(sending, file, broker, made=made, partitions=partitions))
    except LineError as error:
        fail(f"{'stdin' if file == '-' else file}: {error}")
        _summary(sending, time.monotonic() - began, output)
        raise SystemExit(1) from None
    except BaseException:
        # An outage or Ctrl-C: to send the rest, a person has to know what has arrived.
        _summary(sending, time.monotonic() - began, output)
        raise
    _summary(sending, time.monotonic() - began, output)


async def _work(sending: Sending, file: str, broker: str, *, made: bool, partitions: int) -> None:
    from dispatcher.cli.sending import Lines, progress

    lines = Lines(file)
    async with open_broker(broker) as opened:
        await _prepare(opened, sending.stream, broker, made=made, partitions=partitions)
        async with progress(sending, stderr_console()):
            await sending.run(opened, lines)


async def _prepare(opened: Broker, stream: str, broker: str, *, made: bool, partitions: int) -> None:
    from dispatcher.brokers.base import StreamInfo

    if await opened.describe(stream) is not None:
        return
    if not made:
        create = command("streams", "create", stream, "--partitions", str(partitions), broker=broker)
        raise ConfigurationError(
            f"there is no stream {stream} on {opened.url}: add --create, or make it with `{create}`"
        )
    if await opened.create_stream(StreamInfo(name=stream, partitions=partitions)):
        talk(f"created {stream} with {partitions} partitions")


def _summary(sending: Sending, seconds: float, output: Format) -> None:
    if output != "text":
        numbers: dict[str, Any] = {"stream": sending.stream, "sent": sending.sent, "seconds": round(seconds, 3)}
        print_json(
            numbers | {"partitions": {str(n): count for n, count in sorted(sending.partitions.items())}},
            lines=output == "jsonl",
        )
    events = "event" if sending.sent == 1 else "events"
    spread = f" ({len(sending.partitions)} partitions)" if len(sending.partitions) > 1 else ""
    talk(
        f"sent {number(sending.sent)} {events} to {sending.stream}{spread} in {duration(seconds)},"
        f" {number(sending.sent / seconds if seconds else None)}/s"
    )
