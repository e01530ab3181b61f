"""What a 2xx says of the events of its request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from bindings.binding import Binding
from bindings.envelopes import cloudevents
from bindings.envelopes import reply as replies
from bindings.envelopes.record import EnvelopeError
from bindings.errors import InvalidOutcome
from bindings.failure import failure_of
from bindings.invocation import Delivered, Reply
from bindings.outcome import Emit
from bindings.results import failures_of
from dispatcher.invokers.http.failures import failed

__all__ = ["ACCEPT", "reply_of"]

#: What is asked for: the whole of what our hosts can say, results, or a word on what failed.
ACCEPT = f"{replies.MEDIA_TYPE}, {cloudevents.STRUCTURED}, {cloudevents.BATCH}, application/json;q=0.5"
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json")


def reply_of(binding: Binding, batch: Sequence[Delivered], headers: Mapping[str, str], body: bytes) -> Reply:
    """Read the body of a 2xx.

    A document of one of our hosts is taken at its word; CloudEvents are results; ``batchItemFailures`` in JSON names what
    failed. All else says that the events are done. What claims to be one of these and is not, fails the attempt.

    Args:
        binding: whose ``emits`` and policy of retries are meant.
        batch: the events of the request.
        headers: of the reply, found by their names in lower case.
        body: of the reply, decompressed.
    """
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if content == replies.MEDIA_TYPE:
            reply = replies.decode(body, len(batch))
            return reply if binding.emits else Reply(reply.failures, reply.rest)
        if content in (cloudevents.STRUCTURED, cloudevents.BATCH) or "ce-specversion" in headers:
            if binding.emits is None:
                return Reply()
            lower = {name.lower(): value for name, value in headers.items()}
            return Reply(results=[Emit(*each) for each in cloudevents.emitted(lower, body)])
        if _JSON.fullmatch(content) and body.strip():
            named = failures_of(_document(body), [delivery.origin for delivery in batch])
            return Reply({index: failure_of(error, binding.retry) for index, error in named.items()})
    except EnvelopeError as error:
        return Reply(rest=failed("InvalidReply", f"the reply can't be read: {error}"))
    except InvalidOutcome as error:
        return Reply(rest=failed("InvalidReply", str(error)))
    return Reply()


def _document(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise EnvelopeError("it says that it is JSON, and is not") from None
