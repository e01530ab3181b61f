"""One function on given events: what it would come to, with nothing committed and nothing produced."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Literal

from bindings import Binding
from bindings.envelopes.record import WireRecord
from bindings.errors import InvalidOutcome
from bindings.failure import Failure, failure_of, timed_out
from bindings.invocation import Reply
from bindings.results import encode
from dispatcher.clock import Clock
from dispatcher.core.delivery import Delivery, History
from dispatcher.core.partition import lone_delivery
from dispatcher.core.record import Outgoing, Record
from dispatcher.core.retries import Verdict, judge
from dispatcher.invokers.base import Invoker
from dispatcher.invokers.local import LocalInvoker
from dispatcher.worker.records import result
from dispatcher.worker.screening import make_screen

__all__ = ["Fate", "Given", "GivenEventError", "Invoked", "Trial", "read_events"]

_RECORD_FIELDS = {"stream", "partition", "offset", "timestamp_ms", "key", "key_type", "value", "value_type", "headers"}

Given = Literal["auto", "values", "records"]


class GivenEventError(Exception):
    """Raised at a line that can't be an event; the message names it."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one event.

    Attributes:
        record: the event.
        outcome: ``done``; ``filtered``: ``where=`` leaves it out; ``retry``: it would be tried again; ``given_up``: it
            would not.
        failure: why it is not done.
        verdict: when it would be tried again at the latest, or why it would not.
    """

    record: Record
    outcome: Literal["done", "filtered", "retry", "given_up"]
    failure: Failure | None = None
    verdict: Verdict | None = None

    @property
    def id(self) -> str:
        """``stream/partition@offset``."""
        return f"{self.record.topic}/{self.record.partition}@{self.record.offset}"


@dataclass(slots=True)
class Invoked:
    """What came of one invocation.

    Attributes:
        fates: of its events, in order.
        seconds: that it took.
        returned: what the function returned.
        emitted: what would be produced to ``emits=``.
        trace: the traceback of what the function raised, from its own first frame on; empty for none.
    """

    fates: list[Fate]
    seconds: float = 0.0
    returned: Any = None
    emitted: list[Outgoing] = field(default_factory=list)
    trace: str = ""


class Trial:
    """Invokes one binding's function as the dispatcher would: decoding, filter, time-out, batches, reading of results.

    Args:
        binding: whose.
        attempt: which delivery it is said to be, from 1.
        invoker: of its target; in this process when there is none. Only there are its traceback and what it returns known.
    """

    def __init__(self, binding: Binding, *, attempt: int = 1, invoker: Invoker | None = None) -> None:
        self.abandoned = False
        self._attempt = attempt
        self._errors: list[BaseException] = []
        self._returned: Any = None
        # Jitter would say something else each time: the longest wait is what the policy promises.
        self._policy = replace(binding.retry, jitter="none")
        self._binding = replace(binding, function=self._watched(binding))
        # Not its age: who takes an old event out of the log wants to see it run.
        self._screen = make_screen(replace(binding, retry=replace(binding.retry, max_age=None)), Clock())
        self._invoker = invoker or LocalInvoker(self._binding, abandoned=self._note_abandoned)

    async def run(self, records: Sequence[Record]) -> list[Invoked]:
        """Invoke it with the events: one after another, or in batches as large as the binding's."""
        size = self._binding.batch.max_events if self._binding.signature.batch else 1
        done: list[Invoked] = []
        wanted: list[Record] = []
        for record in records:
            if (fate := self._screened(record)) is not None:
                done.append(Invoked([fate]))
                continue
            wanted.append(record)
            if len(wanted) == size:
                done.append(await self._invoke(wanted))
                wanted = []
        if wanted:
            done.append(await self._invoke(wanted))
        await self._invoker.close()
        return done

    def _screened(self, record: Record) -> Fate | None:
        verdict = True if self._screen is None else self._screen(record)
        if isinstance(verdict, Failure):
            return self._fate(self._delivery(record), verdict)
        return None if verdict else Fate(record, "filtered")

    def _delivery(self, record: Record) -> Delivery:
        delivery = lone_delivery(record)
        delivery.history = History(attempts=self._attempt - 1)
        return delivery

    @property
    def _limit(self) -> float | None:
        return None if getattr(self._invoker, "keeps_time", False) else self._binding.timeout

    async def _invoke(self, records: Sequence[Record]) -> Invoked:
        batch = [self._delivery(record) for record in records]
        self._errors.clear()
        self._returned = None
        invoked = Invoked([])
        began = time.perf_counter()
        # What the function prints is talk: the command's own output is data.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                async with asyncio.timeout(self._limit):
                    reply = await self._invoker.invoke(batch)
            except TimeoutError:
                reply = Reply(rest=timed_out(self._binding.timeout))
        invoked.seconds = time.perf_counter() - began
        try:
            invoked.emitted = [result(self._binding, batch, *pair) for pair in enumerate(reply.results)]
        except InvalidOutcome as error:
            reply = Reply(rest=failure_of(error, self._binding.retry))
        invoked.returned = self._returned
        failures = [reply.failures.get(index, reply.rest) for index in range(len(batch))]
        invoked.fates = [self._fate(delivery, failure) for delivery, failure in zip(batch, failures, strict=True)]
        if self._errors and any(failures):
            invoked.trace = _trace(self._errors[-1])
        return invoked

    def _fate(self, delivery: Delivery, failure: Failure | None) -> Fate:
        if failure is None:
            return Fate(delivery.record, "done")
        verdict = judge(self._policy, delivery, failure, age=0.0, rng=random.Random(0))  # noqa: S311 - nothing is drawn
        return Fate(delivery.record, "retry" if verdict.reason is None else "given_up", failure, verdict)

    def _note_abandoned(self, _batch: Sequence[Delivery], _future: Future[Any]) -> None:
        self.abandoned = True

    def _watched(self, binding: Binding) -> Any:
        """The function, with a note taken of what it returns and raises: the invoker keeps neither."""

        @contextlib.contextmanager
        def noted() -> Iterator[None]:
            try:
                yield
            except BaseException as error:
                self._errors.append(error)
                raise

        async def call_async(*args: Any, **named: Any) -> Any:
            with noted():
                self._returned = await binding.function(*args, **named)
                return self._returned

        def call(*args: Any, **named: Any) -> Any:
            with noted():
                self._returned = binding.function(*args, **named)
                return self._returned

        return call_async if binding.signature.is_async else call


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__))).rstrip("\n")


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The frames of the function and of what it called: before them stand those of the dispatcher."""
    own, each = trace, trace
    while each is not None:
        if each.tb_frame.f_code.co_filename == __file__:
            own = each.tb_next
        each = each.tb_next
    return own


def read_events(lines: Sequence[bytes], stream: str, given: Given = "auto") -> list[Record]:
    """Make events of JSON lines; blank ones are left out.

    A line is the value of an event or, as ``dispatch streams tail --json`` prints it, an object with ``value`` and at
    least one of ``key``, ``headers`` and ``stream``, and nothing that a record has not.

    Args:
        lines: without their ends.
        stream: where an event is said to come from that does not say it.
        given: ``values`` or ``records`` where ``auto`` would guess wrong.

    Raises:
        GivenEventError: a line is not JSON, or not a record.
    """
    found: list[Record] = []
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GivenEventError(f"line {number} is not JSON: {error}") from None
        if given == "records" or (given == "auto" and _is_record(value)):
            try:
                found.append(_as_record(value, stream, len(found)))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise GivenEventError(
                    f"line {number} is not a record: {error} (--values takes each line as a value)"
                ) from None
        else:
            found.append(WireRecord(stream, 0, len(found), _now(), None, text, ()))
    return found


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "value" in value
        and bool(value.keys() & {"key", "headers", "stream"})
        and value.keys() <= _RECORD_FIELDS
    )


def _as_record(given: Mapping[str, Any], stream: str, number: int) -> WireRecord:
    if unknown := given.keys() - _RECORD_FIELDS:
        raise ValueError(f"it has no field {', '.join(sorted(unknown))}")
    headers = given.get("headers") or ()
    pairs: list[tuple[str, Any, str]] = (
        [(name, value, "text") for name, value in headers.items()]
        if isinstance(headers, Mapping)
        else [(each["name"], each["value"], each.get("type", "text")) for each in headers]
    )
    key = given.get("key")
    return WireRecord(
        str(given.get("stream", stream)),
        int(given.get("partition", 0)),
        int(given.get("offset", number)),
        int(given.get("timestamp_ms", _now())),
        _bytes(key, given.get("key_type", "text")),
        _bytes(given["value"], given.get("value_type", "null" if given["value"] is None else "json")),
        tuple((name, _bytes(value, kind)) for name, value, kind in pairs),
    )


def _bytes(value: Any, kind: str) -> bytes | None:
    if value is None and kind != "json":
        return None
    match kind:
        case "json":
            return json.dumps(value, separators=(",", ":")).encode()
        case "base64":
            return base64.b64decode(value, validate=True)
        case "text":
            return value.encode() if isinstance(value, str) else encode(value)
        case _:
            raise ValueError(f"there is no type {kind!r} of a value")


def _now() -> int:
    return time.time_ns() // 1_000_000
