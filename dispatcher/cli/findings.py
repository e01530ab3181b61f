"""What a check finds: rules over bindings, and over the streams that they need."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from bindings.binding import Binding
from bindings.errors import place_of
from dispatcher.cli.output import command
from dispatcher.config import broker_kind
from dispatcher.config.elsewhere import is_elsewhere
from dispatcher.errors import FilterError

__all__ = ["Finding", "of_bindings", "of_routes", "of_streams"]


class Finding(NamedTuple):
    """One thing that is wrong, or looks it.

    Attributes:
        severity: an error keeps the function from running or loses its purpose; a warning does not.
        where: a function, a target or a broker.
        message: what is wrong.
        mend: what to do.
    """

    severity: Literal["error", "warning"]
    where: str
    message: str
    mend: str


def of_bindings(bindings: Sequence[Binding]) -> list[Finding]:
    """What can be told without a broker."""
    findings = [finding for binding in bindings for finding in _of_one(binding)]
    return [*findings, *_of_names(bindings), *of_routes(bindings)]


def of_streams(bindings: Sequence[Binding], there: Collection[str], url: str) -> list[Finding]:
    """The consumed streams that the broker does not have; others are made when they are needed."""
    findings = []
    wanted = {stream: binding.name for binding in reversed(bindings) for stream in binding.streams}
    for stream in sorted(set(wanted) - set(there)):
        users = ", ".join(binding.name for binding in bindings if stream in binding.streams)
        create = command("streams", "create", stream, "--partitions", "4", broker=url)
        if broker_kind(url) == "embedded":
            send = command("send", stream, "FILE", broker=url)
            findings.append(
                Finding(
                    "warning", users, f"the stream {stream} is not there yet", f"{send} makes and fills it, or {create}"
                )
            )
        else:
            findings.append(Finding("error", users, f"the stream {stream} is not on the broker", create))
    return findings


def _of_one(binding: Binding) -> Iterator[Finding]:
    yield from _of_where(binding)
    yield from _of_results(binding)
    yield from _of_policies(binding)


def _of_where(binding: Binding) -> Iterator[Finding]:
    if binding.where is None:
        return
    from dispatcher.filters import Filter

    try:
        Filter(binding.where)
    except FilterError as error:
        mend = f"change where= at {_place(binding)}; the language is CEL, https://cel.dev"
        yield Finding("error", binding.name, str(error), mend)


def _place(binding: Binding) -> str:
    return "the configuration" if is_elsewhere(binding) else place_of(binding.function)


def _of_results(binding: Binding) -> Iterator[Finding]:
    signature, name = binding.signature, binding.name
    annotated = inspect.get_annotations(binding.function, eval_str=False).get("return", inspect.Signature.empty)
    # A dict may be {"batchItemFailures": [...]}, which names what failed and is produced nowhere.
    names_failures = signature.batch and str(getattr(annotated, "__name__", annotated)).startswith("dict")
    if signature.returns and not binding.emits and not names_failures:
        yield Finding(
            "error",
            name,
            "it is annotated to return something, and has no stream to produce it to",
            'name the stream, @on_stream(..., emits="..."), or annotate it with -> None',
        )
    if binding.emits and annotated in (None, "None") and not signature.context:
        yield Finding(
            "warning",
            name,
            f"emits={binding.emits!r}, but it returns nothing and takes no Context to emit by",
            "return what is to be produced, or leave out emits=",
        )


def _of_policies(binding: Binding) -> Iterator[Finding]:
    name, batch, retry, limits = binding.name, binding.batch, binding.retry, binding.limits
    if batch.max_events > 1 and not binding.signature.batch:
        yield Finding(
            "error",
            name,
            f"batch={batch.max_events} events, but its parameter takes one",
            f"annotate {binding.signature.parameter} as list[...], or leave out batch=",
        )
    if batch.max_events > limits.held_events:
        yield Finding(
            "warning",
            name,
            f"a batch of {batch.max_events} is never full: it holds {limits.held_events} events at the most",
            f"Limits(held_events={batch.max_events}) or more",
        )
    if batch.max_bytes > limits.held_bytes and batch.max_events > 1:
        yield Finding(
            "warning",
            name,
            f"a batch of {batch.max_bytes:,} bytes is never full: it holds {limits.held_bytes:,} at the most",
            f"Limits(held_bytes={batch.max_bytes:_}) or more",
        )
    if retry.topic_after is not None and binding.order != "none":
        yield Finding(
            "warning",
            name,
            f'topic_after has no effect with order="{binding.order}": an ordered event waits in its place',
            'order="none", or leave out topic_after',
        )
    if batch.group_by == "key" and binding.order == "partition":
        yield Finding(
            "warning",
            name,
            'batches by key under order="partition" are as short as the runs of one key',
            'order="key", or leave out group_by',
        )
    if retry.max_age is not None and retry.max_age < retry.initial:
        yield Finding(
            "warning",
            name,
            f"max_age={retry.max_age:g} s is over before the second attempt, which may wait {retry.initial:g} s",
            "a longer max_age or a shorter initial",
        )


def _of_names(bindings: Sequence[Binding]) -> Iterator[Finding]:
    seen: dict[str, Binding] = {}
    for binding in bindings:
        other = seen.setdefault(binding.name, binding)
        if other is not binding:
            places = f"{_place(other)} and {_place(binding)}"
            yield Finding(
                "error",
                binding.name,
                f"two functions have this name and would share a consumer group: {places}",
                'give one another name: @on_stream(..., name="...")',
            )


def of_routes(bindings: Sequence[Binding]) -> Iterator[Finding]:
    """Events that come back: by results, by dead letters, or by both."""
    consumers: dict[str, list[Binding]] = {}
    for binding in bindings:
        for stream in binding.streams:
            consumers.setdefault(stream, []).append(binding)
    for binding in bindings:
        dead = {binding.dead_letter_topic(stream) for stream in binding.streams}
        for topic in sorted(dead & consumers.keys()):
            takers = consumers[topic]
            if _comes_back(binding, topic, consumers):
                yield Finding(
                    "error",
                    binding.name,
                    f"its dead letters go to {topic}, and come back to it by {', '.join(t.name for t in takers)}",
                    'another stream for them: @on_stream(..., dead_letter="...")',
                )
            else:
                yield Finding(
                    "warning",
                    binding.name,
                    f"its dead letters go to {topic}, which {', '.join(t.name for t in takers)} consumes",
                    "nothing, if that is meant; else another dead_letter=",
                )
        if binding.emits in consumers and _comes_back(binding, binding.emits, consumers):
            yield Finding(
                "warning",
                binding.name,
                f"what it emits to {binding.emits} comes back to it: without an end in the function that goes round for ever",
                "nothing, if the function ends it; else another emits=",
            )


def _comes_back(binding: Binding, topic: str, consumers: dict[str, list[Binding]]) -> bool:
    """Whether an event in ``topic`` can reach a stream of ``binding`` by functions that consume, fail and emit."""
    ahead, seen = [topic], {topic}
    while ahead:
        stream = ahead.pop()
        for taker in consumers.get(stream, ()):
            if taker is binding:
                return True
            for other in (taker.emits, taker.dead_letter_topic(stream)):
                if other and other not in seen:
                    seen.add(other)
                    ahead.append(other)
    return False
