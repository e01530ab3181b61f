"""One redrive or drop of dead letters, as a person sees it: survey, question, work, summary."""

from __future__ import annotations

import contextlib
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from dispatcher.cli.confirm import audit, confirm, who
from dispatcher.cli.formats import Format
from dispatcher.cli.options import configuration, open_broker, same_app
from dispatcher.cli.output import command, print_json, stderr_console, talk
from dispatcher.cli.shelves import tell_unanswered
from dispatcher.errors import BrokerError
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from dispatcher.brokers.base import Broker
    from dispatcher.deadletters import Letter, Operation, Selection, Shelf, Survey
    from dispatcher.deadletters.operation import State

__all__ = ["ClearingCommand"]

# Seconds between two words about how far an operation is.
_SAY_EVERY = 5.0
_PAST = {"redrive": "redriven", "edit": "redriven", "drop": "dropped"}


class ClearingCommand:
    """One redrive or drop: survey, question, work, summary.

    Args:
        shelf, selection: which letters.
        url: the broker's.
        what: to send them back, to do so with another value, or to drop them.
        limit, rate, max_redrives, edit: see :class:`dispatcher.deadletters.Clearing`.
        output: in which form the summary is.
        resumed: goes on with this one, whose filter, ends and limit hold.
    """

    def __init__(
        self,
        shelf: Shelf,
        selection: Selection,
        url: str,
        *,
        what: Literal["redrive", "drop", "edit"],
        limit: int | None,
        rate: float | None,
        max_redrives: int | None,
        output: Format,
        edit: Callable[[Letter], Letter] | None = None,
        resumed: Operation | None = None,
    ) -> None:
        self._shelf = shelf
        self._selection = selection
        self._url = url
        self._what = what
        self._send = what != "drop"
        self._edit = edit
        self._operation = resumed
        self._is_remembered = True
        self._limit = limit
        self._rate = rate
        self._max_redrives = max_redrives
        self._output = output
        self._verb = _PAST[what]
        self.exit_code = 0

    async def work(self, *, dry_run: bool, yes: bool, no_input: bool, words: tuple[str, ...]) -> None:
        async with open_broker(self._url, must_exist=True) as broker:
            resumed = self._operation
            survey = await self._shelf.survey(
                broker, self._selection, max_redrives=self._max_redrives, ends=None if resumed is None else resumed.ends
            )
            if resumed is not None:
                resumed = resumed.with_resolved(survey.resolved)
                self._limit = resumed.left_of_limit
                talk(f"{resumed.id} goes on: its filter and its ends are those that it was begun with")
            going = survey.letters - (sum(survey.held.values()) if self._send else 0)
            going = going if self._limit is None else min(going, self._limit)
            self._show(survey, going)
            if dry_run or not going:
                self._summary(survey, going if dry_run else 0, dry_run=dry_run)
                if resumed is not None and not dry_run:
                    await self._note(broker, replace(resumed, state="done"))
                return
            to = "its retry topic, for it alone" if self._send else None
            question = (
                f"Send {number(going)} back to {self._shelf.function} ({to})?" if to else f"Drop {number(going)}?"
            )
            confirm(question, yes=yes, no_input=no_input)
            self._operation = resumed or self._begun(survey, going)
            await self._clear(broker, survey, going, words)

    async def _clear(self, broker: Broker, survey: Survey, going: int, words: tuple[str, ...]) -> None:
        from dispatcher.cli.progress import progress
        from dispatcher.deadletters import Clearing, make_retry_topics

        operation = self._operation
        if operation is None:
            raise RuntimeError("an operation is begun before it is done")
        if self._send:
            for topic in await make_retry_topics(broker, self._shelf, survey):
                talk(f"created {topic}; a function that runs finds it within seconds")
        clearing = Clearing(
            broker,
            self._shelf,
            self._selection,
            survey,
            send=self._send,
            rate=self._rate,
            limit=self._limit,
            max_redrives=self._max_redrives,
            edit=self._edit,
        )
        before = operation.cleared
        ended: State = "aborted"

        def so_far(state: State) -> Operation:
            return replace(
                operation,
                state=state,
                cleared=before + clearing.cleared,
                held=dict(clearing.held),
                failed={**operation.failed, **clearing.refused},
            )

        try:
            async with (
                self._noting(broker, lambda: so_far("running")),
                progress(self._verb, going, lambda: clearing.cleared, stderr_console()),
                _aborted_by_sigterm(),
            ):
                await clearing.run()
            ended = "done"
        except Exception:
            ended = "failed"
            raise
        finally:
            # However it ends: what was done has to be known.
            await self._note(broker, so_far(ended))
            if clearing.cleared:
                facts = {
                    "operation": operation.id,
                    "function": self._shelf.function,
                    "group": self._shelf.group,
                    "broker": broker.url,
                    "letters": clearing.cleared,
                    "offsets": {f"{id_.topic}/{id_.partition}": spans for id_, spans in clearing.places.items()},
                }
                audit(configuration().settings.data, f"dlq {self._what}", facts)
            for place, why in clearing.refused.items():
                talk(f"{place} was not sent: {why}", style="red")
            self._summary(survey, clearing.cleared, refused=clearing.refused)
            if ended != "done" and self._what == "redrive" and self._is_remembered:
                rest = same_app((), self._shelf.app)
                again = command("dlq", "redrive", "--resume", operation.id, *rest, broker=self._url)
                talk(f"it is not through; it goes on with {again}")
        if self._send and clearing.cleared and not await broker.group_members(self._shelf.live_group):
            talk(
                f"{self._shelf.function} does not run now; they wait for it: {command('run', *words, broker=self._url)}"
            )

    def _begun(self, survey: Survey, going: int) -> Operation:
        from dispatcher.deadletters import Operation
        from dispatcher.replay import new_id

        now_ms = time.time_ns() // 1_000_000
        return Operation(
            # Two people may begin one in the same second.
            id=f"{new_id()}-{secrets.token_hex(2)}",
            what=self._what,
            shelf=self._shelf,
            selection=self._selection,
            ends=survey.ends,
            by=who(),
            started=now_ms,
            rate=self._rate,
            limit=self._limit,
            max_redrives=self._max_redrives,
            before=survey.resolved,
            going=going,
        )

    @contextlib.asynccontextmanager
    async def _noting(self, broker: Broker, so_far: Callable[[], Operation]) -> AsyncIterator[None]:
        """Write down how far it is, now and then."""
        import asyncio

        await self._note(broker, so_far())
        if self._is_remembered and self._what == "redrive":
            talk(f"operation {so_far().id}")

        async def note() -> None:
            while self._is_remembered:
                await asyncio.sleep(_SAY_EVERY)
                await self._note(broker, so_far())

        task = asyncio.create_task(note(), name="noting")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _note(self, broker: Broker, operation: Operation) -> None:
        from dispatcher.deadletters import store_operation

        if not self._is_remembered:
            return
        try:
            await store_operation(broker, operation)
        except BrokerError as error:
            # What is resolved is kept elsewhere: it repeats nothing, but can't be resumed by its id.
            self._is_remembered = False
            talk(f"this operation is not written down: {error}", style="yellow")

    def _show(self, survey: Survey, going: int) -> None:
        from dispatcher.cli.letters import HEADER, RIGHT, row
        from dispatcher.deadletters import Found
        from dispatcher.telemetry.text import columns

        plural = "letter" if survey.letters == 1 else "letters"
        talk(f"{number(survey.letters)} dead {plural} of {self._shelf.function}, {number(going)} to be {self._verb}")
        rows = [(reason, error, number(count)) for (reason, error), count in survey.by_reason.most_common()]
        if rows:
            talk(*(f"  {line}" for line in columns([("REASON", "ERROR", "LETTERS"), *rows], right=(2,))))
            talk("such as")
            short = len(self._shelf.topics) == 1
            sample = [HEADER, *(row(Found(letter, resolved=False), short=short) for letter in survey.samples)]
            talk(*(f"  {line}" for line in columns(sample, right=RIGHT)))
        if self._send and survey.held["looping"]:
            talk(
                f"{number(survey.held['looping'])} of them were sent back {self._max_redrives} times or more, and stay:"
                " --force sends them too",
                style="yellow",
            )
        if self._send and survey.held["foreign"]:
            talk(
                f"{number(survey.held['foreign'])} of them came from no stream of {self._shelf.function}, and stay",
                style="yellow",
            )
        if not survey.remembered and survey.oldest is not None and self._url.startswith("kafka"):
            self._warn_of_forgetting(survey.oldest)
        tell_unanswered(self._selection)

    def _warn_of_forgetting(self, oldest_ms: int) -> None:
        import time

        # Kafka's default offsets.retention.minutes: 7 days after the last commit of a group that nobody is in.
        if time.time() - oldest_ms / 1000 > 7 * 86_400:
            talk(
                f"there are letters of more than 7 days, and Kafka keeps what {self._shelf.group} has committed no longer"
                " (offsets.retention.minutes): if they were redriven before, they would be again; --since leaves them out",
                style="yellow",
            )

    def _summary(
        self, survey: Survey, cleared: int, *, refused: Mapping[str, str] | None = None, dry_run: bool = False
    ) -> None:
        refused = refused or {}
        self.exit_code = int(bool(refused))
        if self._output == "text":
            said = f"would be {self._verb}" if dry_run else self._verb
            talk(f"{number(cleared)} {said}" + (f", {number(len(refused))} refused" if refused else ""))
            return
        from dispatcher.cli.letters import as_json
        from dispatcher.deadletters import Found

        facts: dict[str, Any] = {
            "operation": None if dry_run or self._operation is None else self._operation.id,
            "function": self._shelf.function,
            "dry_run": dry_run,
            "letters": survey.letters,
            self._verb: cleared,
            "held": {"looping": survey.held["looping"], "foreign": survey.held["foreign"]},
            "refused": len(refused),
            "failed": [{"letter": place, "why": why} for place, why in refused.items()],
            "reasons": [
                {"reason": reason, "error_type": error, "letters": count}
                for (reason, error), count in survey.by_reason.most_common()
            ],
        }
        if dry_run:
            facts["samples"] = [as_json(Found(letter, resolved=False)) for letter in survey.samples]
        print_json(facts, lines=self._output == "jsonl")


@contextlib.asynccontextmanager
async def _aborted_by_sigterm() -> AsyncIterator[None]:
    """End the body at SIGTERM as at Ctrl-C: what is on its way is finished and written down; the exit code is 143."""
    import asyncio

    loop, task, is_told = asyncio.get_running_loop(), asyncio.current_task(), False

    def abort() -> None:
        nonlocal is_told
        is_told = True
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, abort)
    try:
        yield
    except asyncio.CancelledError:
        if is_told:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
