"""``dispatch streams``: what is in the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.formats import Format, output_option, print_found
from dispatcher.cli.help import Group
from dispatcher.cli.options import broker_option, open_broker, run_async
from dispatcher.cli.output import command, print_json, print_table, talk
from dispatcher.cli.when import position
from dispatcher.errors import ConfigurationError, StreamNotFound
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from dispatcher.brokers.base import Broker, StreamInfo
    from dispatcher.times import Position

__all__ = ["described", "stream_name", "streams"]


class _StreamName(click.ParamType[str]):
    name = "stream"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from bindings.policies import check_stream_name

        try:
            return check_stream_name(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


stream_name = _StreamName()


@click.group(cls=Group)
def streams() -> None:
    """Look at the streams of a broker, and make them."""


@streams.command("list")
@broker_option
@output_option
def list_streams(broker: str, output: Format) -> None:
    """Show all streams: name, partitions, events in the log."""

    async def work() -> list[dict[str, Any]]:
        async with open_broker(broker, must_exist=True) as opened:
            infos = await opened.list_streams()
            every = [id_ for info in infos for id_ in info.ids]
            begin, end = await opened.beginning_offsets(every), await opened.end_offsets(every)
            events: dict[str, int] = {}
            for partition in every:
                held = end.get(partition, 0) - begin.get(partition, 0)
                events[partition.topic] = events.get(partition.topic, 0) + held
            return [{"stream": i.name, "partitions": i.partitions, "events": events.get(i.name, 0)} for i in infos]

    found = run_async(work())
    print_found(
        output,
        found,
        ("STREAM", "PARTITIONS", "EVENTS"),
        lambda each: (each["stream"], number(each["partitions"]), number(each["events"])),
        right=(1, 2),
    )
    if not found and output == "text":
        talk(f"no streams yet; make one: {command('send', 'STREAM', 'FILE', broker=broker)}")


@streams.command()
@click.argument("stream", type=stream_name)
@broker_option
@output_option
def show(stream: str, broker: str, output: Format) -> None:
    """Show a stream: begin and end offset of each partition, and its configuration."""

    async def work() -> dict[str, Any]:
        async with open_broker(broker, must_exist=True) as opened:
            info = await described(opened, stream)
            every = info.ids
            begin, end = await opened.beginning_offsets(every), await opened.end_offsets(every)
            partitions = [{"partition": p.partition, "begin": begin[p], "end": end[p]} for p in every]
            return {"stream": stream, "partitions": partitions, "config": dict(info.config)}

    found = run_async(work())
    if output != "text":
        print_json(found, lines=output == "jsonl")
        return
    rows = [
        (str(each["partition"]), number(each["begin"]), number(each["end"]), number(each["end"] - each["begin"]))
        for each in found["partitions"]
    ]
    print_table(("PARTITION", "BEGIN", "END", "EVENTS"), rows, right=(0, 1, 2, 3))
    if found["config"]:
        click.echo()
        print_table(("CONFIG", "VALUE"), sorted(found["config"].items()))


@streams.command()
@click.argument("stream", type=stream_name)
@click.option("--partitions", type=click.IntRange(1, 10_000), default=4, show_default=True, help="How many.")
@click.option(
    "--set", "given", multiple=True, metavar="K=V", help="A setting, such as retention.ms=86400000. May be given again."
)
@broker_option
def create(stream: str, partitions: int, given: tuple[str, ...], broker: str) -> None:
    """Make a stream. One that is there with as many partitions is left as it is."""
    from dispatcher.brokers.base import StreamInfo

    settings = dict(pair.partition("=")[::2] for pair in given)
    if bad := [pair for pair in given if "=" not in pair]:
        raise click.UsageError(f"--set {bad[0]}: write it as NAME=VALUE")

    async def work() -> StreamInfo | None:
        async with open_broker(broker) as opened:
            if await opened.create_stream(StreamInfo(name=stream, partitions=partitions, config=settings)):
                return None
            return await described(opened, stream)

    there = run_async(work())
    if there is None:
        talk(f"created {stream} with {partitions} partitions")
    elif there.partitions == partitions and all(there.config.get(name) == settings[name] for name in settings):
        talk(f"{stream} is there already, with {partitions} partitions")
    else:
        raise ConfigurationError(
            f"{stream} is there already, with {there.partitions} partitions and other settings: see"
            f" `{command('streams', 'show', stream, broker=broker)}`"
        )


@streams.command()
@click.argument("stream", type=stream_name)
@click.option(
    "--from",
    "start",
    default="earliest",
    show_default=True,
    metavar="WHERE",
    type=position,
    help="earliest, now (or latest), -2h (a time back; also ms, s, m, d, w), an ISO 8601 time, or @OFFSET.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option("--follow/--no-follow", "-f", default=False, show_default=True, help="Wait for more at the end.")
@broker_option
@output_option
def tail(stream: str, start: Position, limit: int | None, follow: bool, broker: str, output: Format) -> None:
    """Print a stream's events: a readable line each or, with -o json or jsonl, a JSON object a line: a stream has no end
    that could close an array.

    Reads in a consumer group of its own and commits nothing: whoever consumes the stream does not notice.
    """
    from dispatcher.cli.tailing import Tail

    async def work() -> None:
        async with open_broker(broker, must_exist=True) as opened:
            info = await described(opened, stream)
            await Tail(opened, info, start, limit=limit, follow=follow, as_json=output != "text").run()

    run_async(work())


async def described(broker: Broker, stream: str) -> StreamInfo:
    """Describe a stream that must be there.

    Raises:
        StreamNotFound: it is not; the message names those that sound like it.
    """
    info = await broker.describe(stream)
    if info is None:
        import difflib

        near = difflib.get_close_matches(stream, [each.name for each in await broker.list_streams()])
        meant = f": did you mean {' or '.join(near)}?" if near else ""
        error = StreamNotFound(f"there is no stream {stream} on {broker.url}{meant}")
        error.add_note(command("streams", "list", broker=broker.url))
        raise error
    return info
