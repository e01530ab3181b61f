"""Which invocations are traced."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

__all__ = ["ROOT", "SAMPLED", "EventSampler", "ratio_of"]

logger = logging.getLogger("dispatcher.telemetry")

_KEY: Final = create_key("dispatch-sampled")
#: The parents of an invocation that begins a trace: whatever span is open around it is none of its own. The second has been
#: chosen already, and the sampler is not to throw the dice again.
ROOT: Final = Context()
SAMPLED: Final = set_value(_KEY, True, ROOT)


class EventSampler(ParentBased):
    """OpenTelemetry's ``parentbased_traceidratio``, that can be asked before there is a span: what is not sampled costs
    the SDK 11 us, and here a look at a header or a random number.

    Args:
        ratio: of what has no parent.
    """

    def __init__(self, ratio: float) -> None:
        super().__init__(TraceIdRatioBased(ratio))
        self._ratio = ratio

    @property
    def choose(self) -> Callable[[], bool]:
        """Whether the next trace is sampled."""
        ratio, throw = self._ratio, random.random
        return lambda: throw() < ratio

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As chosen; else as its parent; else by the ratio."""
        if parent_context and get_value(_KEY, parent_context):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return super().should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)


def ratio_of(said: float | None, environ: Mapping[str, str]) -> float | None:
    """The part to sample of what has no parent: as the setting says, else as OpenTelemetry's own variables do, else all.

    None where these name a sampler that does not ask the parent, or one that we do not know: it is the SDK's to make.
    """
    if said is not None:
        return said
    name = environ.get(OTEL_TRACES_SAMPLER, "parentbased_always_on").strip().lower()
    if name == "parentbased_traceidratio":
        try:
            ratio = float(environ.get(OTEL_TRACES_SAMPLER_ARG, ""))
        except ValueError:
            ratio = -1.0
        if 0 <= ratio <= 1:
            return ratio
        logger.warning("%s is no number from 0 to 1: all is sampled", OTEL_TRACES_SAMPLER_ARG)
        return 1.0
    return {"parentbased_always_on": 1.0, "parentbased_always_off": 0.0}.get(name)
