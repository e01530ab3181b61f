"""W3C Trace Context, as events and requests carry it: https://www.w3.org/TR/trace-context/.

What is no ``traceparent`` is left out, as the recommendation asks for, and never an error: whoever made an event wrote it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["TraceContext", "current_trace", "is_traced", "read_trace", "tell_trace", "trace_of"]

# Version, trace id, span id, flags. A later version may have more behind them; 255 is no version.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
#: Characters: "vendors SHOULD propagate at least 512 characters" of a tracestate. A traceparent of today has 55.
_LONGEST = 512
_MOST_MEMBERS = 32


class TraceContext(NamedTuple):
    """Where an operation stands in a distributed trace.

    Attributes:
        traceparent: the header of that name: ``00-<trace id>-<span id>-<flags>``.
        tracestate: the header of that name, what tracing systems add to it; empty for none.
    """

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits: of the operation."""
        return self.traceparent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether whoever began it records the trace."""
        return int(self.traceparent[53:55], 16) & 1 == 1

    def headers(self) -> dict[str, str]:
        """The two as headers of a request, the second where it is not empty."""
        return {name: text for name, text in self._asdict().items() if text}


#: The trace of the invocation that runs in this task or thread; None where nobody traces it.
current_trace: ContextVar[TraceContext | None] = ContextVar("dispatch_trace", default=None)


def read_trace(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """Read the two headers; None when the first is missing or malformed. The second is left out when it is."""
    if traceparent is None or len(traceparent) > _LONGEST or (match := _TRACEPARENT.fullmatch(traceparent)) is None:
        return None
    if match[1] is not None and traceparent.startswith("00"):
        return None
    return TraceContext(traceparent, _tracestate(tracestate) if tracestate else "")


def _tracestate(text: str) -> str:
    """A list of members; nothing where a part of it is none."""
    if len(text) > _LONGEST:
        return ""
    members = [stripped for member in text.split(",") if (stripped := member.strip(" \t"))]
    is_one = len(members) <= _MOST_MEMBERS and all(map(_MEMBER.fullmatch, members))
    return ",".join(members) if is_one else ""


def trace_of(headers: Sequence[tuple[str, bytes | None]]) -> TraceContext | None:
    """The context in which an event was made: the record's header ``traceparent``, or that of the CloudEvent that it is.

    The last header of a name counts, by Kafka's convention.
    """
    if not headers:
        return None
    found = {name: value for name, value in headers if value is not None and name in _NAMES}
    return _read(found, "traceparent", "tracestate") or _read(found, "ce_traceparent", "ce_tracestate")


def is_traced(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether whoever made a record has given it a context of its own, which nobody else overwrites."""
    return any(name in _PARENTS for name, _ in headers)


def tell_trace(record: logging.LogRecord) -> bool:
    """A filter for a handler of logs: a line of an invocation that is traced says so, in the fields ``trace_id`` and ``span_id``.

    The names are those of OpenTelemetry's "Trace Context in non-OTLP Log Formats".
    """
    if (trace := current_trace.get()) is not None and trace.sampled:
        record.trace_id, record.span_id = trace.trace_id, trace.span_id
    return True


#: The second pair: the extension "Distributed Tracing" of CloudEvents, in the Kafka protocol binding.
_PARENTS = frozenset({"traceparent", "ce_traceparent"})
_NAMES = _PARENTS | {"tracestate", "ce_tracestate"}


def _read(found: dict[str, bytes], parent: str, state: str) -> TraceContext | None:
    traceparent = found.get(parent)
    if traceparent is None:
        return None
    # Every byte has a character in it: what is no ASCII is malformed, and not an error.
    return read_trace(
        traceparent[: _LONGEST + 1].decode("latin-1"), found.get(state, b"")[: _LONGEST + 1].decode("latin-1")
    )
