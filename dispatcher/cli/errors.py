"""``dispatch errors``: what goes wrong, by cause, rather than letter by letter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.confirm import audit
from dispatcher.cli.formats import Format, output_option, print_found
from dispatcher.cli.help import Group
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
    together,
)
from dispatcher.cli.output import command, print_json, print_lines, talk
from dispatcher.cli.shelves import rest_of, selection_of, shelf_for
from dispatcher.cli.when import moment
from dispatcher.errors import BrokerRefused
from dispatcher.telemetry.text import columns, duration, number, printable
from dispatcher.telemetry.text import moment as as_time

if TYPE_CHECKING:
    from datetime import datetime

    from dispatcher.brokers.base import Broker
    from dispatcher.deadletters import Cause, Shelf
    from dispatcher.deadletters.causes import Said

__all__ = ["errors"]

_HEADER = ("ERROR", "FUNCTION", "LETTERS", "OPEN", "FIRST", "LAST", "STATE", "WHAT")
_WIDTH = 70

_errors_options = together(
    app_argument,
    only_option,
    click.option(
        "--stream",
        multiple=True,
        metavar="TOPIC",
        help="The dead-letter topic of the function that --only names; then no code is read. May be given again.",
    ),
    click.option("--since", type=moment, metavar="TIME", help="Of letters since then: -2h, or an ISO 8601 time."),
    broker_option,
    app_option,
)


@click.group(cls=Group)
def errors() -> None:
    """What goes wrong, by cause: function, error type and the place in your code.

    It is read from the dead letters, so it works while nothing runs. What is said of an error (resolved, ignored, by whom,
    when, why) is kept in the stream _dispatch.journal.<app>.
    """


@errors.command("list")
@_errors_options
@click.option("--all", "everything", is_flag=True, help="Also what is resolved, ignored or cleared.")
@output_option
def list_errors(everything: bool, output: Format, **where: Any) -> None:
    """Show the errors of all functions, the latest first: since when, how many letters, how it stands."""
    look = _Look(**where)
    found = run_async(look.causes())
    shown = [cause for cause in found if everything or cause.state in ("open", "returned")]
    if output != "text" or shown:
        print_found(output, [_as_json(cause) if output != "text" else {"cause": cause} for cause in shown], _HEADER, _row,
                    right=(2, 3, 4, 5))  # fmt: skip
    hidden = len(found) - len(shown)
    talk(
        f"{number(len(shown))} error{'s' * (len(shown) != 1)}"
        + (f", {number(hidden)} more with --all" if hidden else "")
    )
    if shown and output == "text":
        talk(f"  look at one: {look.command('show', shown[0])}")


@errors.command()
@click.argument("error", metavar="ID")
@_errors_options
@output_option
def show(error: str, output: Format, **where: Any) -> None:
    """Show one error: where it comes from, how often, a sample event, and the command that sends its letters back."""
    look = _Look(**where)
    cause = run_async(look.one(error))
    if output != "text":
        print_json(_as_json(cause), lines=output == "jsonl")
        return
    from dispatcher.cli.letters import as_text
    from dispatcher.deadletters import Found

    letter, said = cause.sample, cause.mark
    reasons = ", ".join(f"{reason} {number(count)}" for reason, count in cause.reasons.most_common())
    facts = [
        ("error", cause.fingerprint),
        ("state", cause.state),
        *(
            [("said", f"{said.said} by {said.by} at {as_time(said.at)}" + (f": {said.why}" if said.why else ""))]
            if said
            else []
        ),
        ("function", letter.function),
        ("what", cause.title),
        ("place", letter.raised_at or "-"),
        ("letters", f"{number(cause.letters)}, {number(cause.open)} to deal with"),
        ("reasons", reasons),
        ("first seen", as_time(cause.first_seen)),
        ("last seen", as_time(cause.last_seen)),
    ]
    print_lines(columns(facts))
    click.echo("sample")
    print_lines(f"    {line}" for line in as_text(Found(letter, not cause.sample_open)))
    if cause.open:
        talk(f"  send its letters back: {look.redrive(cause)}")


def _says(said: Said, help_: str) -> click.Command:
    @click.argument("error", metavar="ID")
    @_errors_options
    @click.option("--why", default="", metavar="TEXT", help="For those who look at it later.")
    @output_option
    def say(error: str, why: str, output: Format, **where: Any) -> None:
        look = _Look(**where)
        cause = run_async(look.say(error, said, why))
        if output != "text":
            print_json(_as_json(cause), lines=output == "jsonl")
            return
        talk(f"{cause.fingerprint} is {said}: {cause.title}")
        if cause.open and said == "resolved":
            talk(f"  {number(cause.open)} letters of it still rest; send them back: {look.redrive(cause)}")

    say.__doc__ = help_
    return click.command({"resolved": "resolve", "ignored": "ignore", "open": "reopen"}[said])(say)


errors.add_command(_says("resolved", "Say that an error is mended. It is listed again as soon as it comes again."))
errors.add_command(_says("ignored", "List an error no more, however often it comes."))
errors.add_command(_says("open", "Take back that an error is resolved or ignored."))


class _Look:
    """The errors of an app, as the words of the command name them."""

    def __init__(
        self,
        *,
        app: tuple[str, ...],
        only: tuple[str, ...],
        stream: tuple[str, ...],
        since: datetime | None,
        broker: str,
        name: str | None,
    ) -> None:
        self._app = app_name(app, name)
        self._url = broker
        self._words = app
        self._stream = stream
        self._name = name
        self._selection = selection_of(since=since)
        self._shelves = self._find(only)

    def _find(self, only: tuple[str, ...]) -> list[Shelf]:
        if self._stream:
            from dispatcher.deadletters import Shelf

            if not only:
                raise click.UsageError("--stream names dead letters: of which function? --only FN")
            return [Shelf(app=self._app, function=each, topics=self._stream, adopts=True) for each in only]
        return [shelf_for(self._app, function.binding) for function in functions(self._words, only)]

    async def causes(self) -> list[Cause]:
        """All of them, the latest first."""
        async with open_broker(self._url, must_exist=True) as broker:
            return await self._read(broker)

    async def _read(self, broker: Broker) -> list[Cause]:
        from dispatcher.deadletters import causes_of, marks_of

        marks, found = {}, []
        try:
            marks = await marks_of(broker, self._app)
        except BrokerRefused as error:
            # Whoever may read the dead letters sees what goes wrong, whatever was said of it.
            talk(f"what was said of errors is not known: {error}", style="yellow")
        for shelf in self._shelves:
            for cause in (await causes_of(broker, shelf, self._selection)).values():
                cause.mark = marks.get(cause.fingerprint)
                found.append(cause)
        return sorted(found, key=lambda cause: cause.last_seen, reverse=True)

    async def one(self, fingerprint: str) -> Cause:
        """The one whose fingerprint begins so.

        Raises:
            click.UsageError: none does, or several do.
        """
        async with open_broker(self._url, must_exist=True) as broker:
            return await self._one(broker, fingerprint)

    async def _one(self, broker: Broker, fingerprint: str) -> Cause:
        matching = [cause for cause in await self._read(broker) if cause.fingerprint.startswith(fingerprint.lower())]
        if len(matching) == 1:
            return matching[0]
        words = rest_of(self._words, self._stream, self._name)
        look = command("errors", "list", *words, "--all", broker=self._url)
        if matching:
            raise click.UsageError(
                f"{fingerprint} begins {len(matching)} errors: {', '.join(c.fingerprint for c in matching)}"
            )
        raise click.UsageError(f"there is no error {fingerprint}: {look} names them")

    async def say(self, fingerprint: str, said: Said, why: str) -> Cause:
        """Write down what a person says of it."""
        from dispatcher.cli.confirm import who
        from dispatcher.deadletters import Mark, mark

        async with open_broker(self._url, must_exist=True) as broker:
            cause = await self._one(broker, fingerprint)
            now_ms = time.time_ns() // 1_000_000
            cause.mark = Mark(said=said, by=who(), at=now_ms, why=why, last_seen=cause.last_seen)
            await mark(broker, self._app, cause, cause.mark)
        facts = {"error": cause.fingerprint, "function": cause.sample.function, "broker": self._url, "why": why}
        audit(configuration().settings.data, f"errors {said}", facts)
        return cause

    def command(self, verb: str, cause: Cause) -> str:
        """A command of this group about it, to copy."""
        words = rest_of(self._words, self._stream, self._name)
        only = ("--only", cause.sample.function) if self._stream else ()
        return command("errors", verb, cause.fingerprint, *words, *only, broker=self._url)

    def redrive(self, cause: Cause) -> str:
        """What sends its letters back."""
        words = rest_of(self._words, self._stream, self._name)
        fingerprint = ("--fingerprint", cause.fingerprint)
        return command("dlq", "redrive", cause.sample.function, *words, *fingerprint, broker=self._url)


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    cause: Cause = found["cause"]
    what = cause.title if len(cause.title) <= _WIDTH else f"{cause.title[: _WIDTH - 3]}..."
    where = f" ({cause.sample.raised_at})" if cause.sample.raised_at else ""
    return (
        cause.fingerprint,
        cause.sample.function,
        number(cause.letters),
        number(cause.open),
        _ago(cause.first_seen),
        _ago(cause.last_seen),
        cause.state,
        printable(what + where),
    )


def _ago(milliseconds: int) -> str:
    return duration(max(0.0, time.time() - milliseconds / 1000))


def _as_json(cause: Cause) -> dict[str, Any]:
    from dispatcher.cli.letters import as_json
    from dispatcher.deadletters import Found

    letter = cause.sample
    return {
        "error": cause.fingerprint,
        "state": cause.state,
        "function": letter.function,
        "error_type": letter.error_type,
        "place": letter.raised_at or None,
        "what": cause.title,
        "letters": cause.letters,
        "open": cause.open,
        "reasons": dict(cause.reasons),
        "first_seen_ms": cause.first_seen,
        "last_seen_ms": cause.last_seen,
        "said": None if cause.mark is None else cause.mark.as_json(),
        "sample": as_json(Found(letter, not cause.sample_open)),
    }
