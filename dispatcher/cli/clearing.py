"""One redrive or drop of dead letters, as a person sees it: survey, question, work, summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher.cli.confirm import audit, confirm
from dispatcher.cli.formats import Format
from dispatcher.cli.options import configuration, open_broker
from dispatcher.cli.output import command, print_json, stderr_console, talk
from dispatcher.cli.shelves import tell_unanswered
from dispatcher.telemetry.text import number

if TYPE_CHECKING:
    from dispatcher.brokers.base import Broker
    from dispatcher.deadletters import Selection, Shelf, Survey

__all__ = ["ClearingCommand"]


class ClearingCommand:
    """One redrive or drop: survey, question, work, summary."""

    def __init__(
        self,
        shelf: Shelf,
        selection: Selection,
        url: str,
        *,
        send: bool,
        limit: int | None,
        rate: float | None,
        max_redrives: int | None,
        output: Format,
    ) -> None:
        self._shelf = shelf
        self._selection = selection
        self._url = url
        self._send = send
        self._limit = limit
        self._rate = rate
        self._max_redrives = max_redrives
        self._output = output
        self._verb = "redriven" if send else "dropped"
        self.exit_code = 0

    async def work(self, *, dry_run: bool, yes: bool, no_input: bool, words: tuple[str, ...]) -> None:
        async with open_broker(self._url, must_exist=True) as broker:
            survey = await self._shelf.survey(broker, self._selection, max_redrives=self._max_redrives)
            going = survey.letters - (sum(survey.held.values()) if self._send else 0)
            going = going if self._limit is None else min(going, self._limit)
            self._show(survey, going)
            if dry_run or not going:
                self._summary(survey, going if dry_run else 0, dry_run=dry_run)
                return
            to = "its retry topic, for it alone" if self._send else None
            question = (
                f"Send {number(going)} back to {self._shelf.function} ({to})?" if to else f"Drop {number(going)}?"
            )
            confirm(question, yes=yes, no_input=no_input)
            await self._clear(broker, survey, going, words)

    async def _clear(self, broker: Broker, survey: Survey, going: int, words: tuple[str, ...]) -> None:
        from dispatcher.cli.progress import progress
        from dispatcher.deadletters import Clearing, make_retry_topics

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
        )
        try:
            async with progress(self._verb, going, lambda: clearing.cleared, stderr_console()):
                await clearing.run()
        finally:
            # However it ends: what was done has to be known.
            if clearing.cleared:
                facts = {
                    "function": self._shelf.function,
                    "group": self._shelf.group,
                    "broker": broker.url,
                    "letters": clearing.cleared,
                    "offsets": {f"{id_.topic}/{id_.partition}": spans for id_, spans in clearing.places.items()},
                }
                audit(configuration().settings.data, f"dlq {'redrive' if self._send else 'drop'}", facts)
            for place, why in clearing.refused.items():
                talk(f"{place} was not sent: {why}", style="red")
            self._summary(survey, clearing.cleared, refused=len(clearing.refused))
        if self._send and clearing.cleared and not await broker.group_members(self._shelf.live_group):
            talk(
                f"{self._shelf.function} does not run now; they wait for it: {command('run', *words, broker=self._url)}"
            )

    def _show(self, survey: Survey, going: int) -> None:
        from dispatcher.cli.letters import HEADER, RIGHT, row
        from dispatcher.deadletters import Found
        from dispatcher.telemetry.text import columns

        plural = "letter" if survey.letters == 1 else "letters"
        talk(f"{number(survey.letters)} dead {plural} of {self._shelf.function}, {number(going)} to be {self._verb}")
        rows = [(reason, error, number(count)) for (reason, error), count in survey.by_reason.most_common()]
        if rows:
            talk("\n".join(f"  {line}" for line in columns([("REASON", "ERROR", "LETTERS"), *rows], right=(2,))))
            talk("such as")
            short = len(self._shelf.topics) == 1
            sample = [HEADER, *(row(Found(letter, resolved=False), short=short) for letter in survey.samples)]
            talk("\n".join(f"  {line}" for line in columns(sample, right=RIGHT)))
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

    def _summary(self, survey: Survey, cleared: int, *, refused: int = 0, dry_run: bool = False) -> None:
        self.exit_code = int(refused > 0)
        if self._output == "text":
            said = f"would be {self._verb}" if dry_run else self._verb
            talk(f"{number(cleared)} {said}" + (f", {number(refused)} refused" if refused else ""))
            return
        from dispatcher.cli.letters import as_json
        from dispatcher.deadletters import Found

        facts: dict[str, Any] = {
            "function": self._shelf.function,
            "dry_run": dry_run,
            "letters": survey.letters,
            self._verb: cleared,
            "held": {"looping": survey.held["looping"], "foreign": survey.held["foreign"]},
            "refused": refused,
            "reasons": [
                {"reason": reason, "error_type": error, "letters": count}
                for (reason, error), count in survey.by_reason.most_common()
            ],
        }
        if dry_run:
            facts["samples"] = [as_json(Found(letter, resolved=False)) for letter in survey.samples]
        print_json(facts, lines=self._output == "jsonl")
