"""Events as requests: what is said in headers and body, for each way of writing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bindings.binding import Binding
from bindings.envelopes import aws_kafka, cloudevents, pubsub, raw
from bindings.invocation import Delivered
from dispatcher.config.targets import HttpTarget
from dispatcher.errors import ConfigurationError

__all__ = ["Writer", "writer_of"]

#: From the events of an invocation to the headers that are theirs, and the body.
Writer = Callable[[Sequence[Delivered]], tuple[dict[str, str], bytes]]


_JSON = {"content-type": "application/json"}


def writer_of(binding: Binding, target: HttpTarget) -> Writer:
    """How the events of a binding are written for a target.

    Raises:
        ConfigurationError: the envelope holds one event, and the function takes batches.
    """
    source, type_, content_type = target.source, target.event_type, target.content_type
    if target.envelope == "aws_kafka":
        return lambda batch: (_JSON, aws_kafka.encode([delivery.origin for delivery in batch]))
    if target.envelope in ("pubsub", "raw") and binding.signature.batch:
        raise ConfigurationError(
            f'{binding.name} takes batches, and envelope = "{target.envelope}" holds one event:'
            ' choose "cloudevents" or "aws_kafka"'
        )
    if target.envelope == "pubsub":
        subscription = f"projects/dispatch/subscriptions/{binding.name}"
        return lambda batch: (_JSON, pubsub.encode(batch[0].origin, subscription=subscription))
    if target.envelope == "raw":
        return lambda batch: raw.encode(batch[0].origin, content_type)
    if target.envelope == "cloudevents_json":
        return lambda batch: (
            _JSON,
            cloudevents.batched(
                [delivery.origin for delivery in batch], source=source, type_=type_, content_type=content_type
            )[1],
        )
    if binding.signature.batch:
        return lambda batch: cloudevents.batched(
            [delivery.origin for delivery in batch], source=source, type_=type_, content_type=content_type
        )
    write = cloudevents.binary if target.envelope == "cloudevents" else cloudevents.structured
    return lambda batch: write(batch[0].origin, source=source, type_=type_, content_type=content_type)
