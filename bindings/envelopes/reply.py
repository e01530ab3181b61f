"""What an invocation came to, from one of our hosts to our dispatcher: nothing that a function says is lost on the way.

A JSON document, of the media type :data:`MEDIA_TYPE`::

    {"version": 1,
     "failures": [{"index": 3, "kind": "function" | "terminal", "type": "ValueError", "message": "...",
                   "retryAfter": 30.0 | null, "retryable": true, "counts": true, "place": "shop/orders.py:check"}],
     "rest": null | {... without index},
     "results": [{"value": base64 | null, "key": base64 | null, "headers": [["name", base64 | null]]}]}

``index`` is the event's place in the batch; ``place`` is where the failure was raised, and may be left out. A host answers so only to a caller that asks for it (``Accept``, or the
client context of a Lambda invocation).
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bindings.envelopes.record import EnvelopeError
from bindings.failure import Failure, FailureKind
from bindings.invocation import Reply
from bindings.outcome import Emit

__all__ = ["MEDIA_TYPE", "decode", "document_of", "encode"]

MEDIA_TYPE = "application/vnd.dispatch.reply+json"
_LONGEST_TYPE, _LONGEST_MESSAGE, _LONGEST_PLACE = 300, 1_000, 200


def document_of(reply: Reply) -> dict[str, Any]:
    """Make the document. The results' values and keys are bytes already (:func:`bindings.results.in_bytes`)."""
    return {
        "version": 1,
        "failures": [{"index": index, **_failure(failure)} for index, failure in reply.failures.items()],
        "rest": None if reply.rest is None else _failure(reply.rest),
        "results": [
            {
                "value": _base64(emit.value),
                "key": _base64(emit.key),
                "headers": [[name, _base64(value)] for name, value in emit.headers],
            }
            for emit in reply.results
        ],
    }


def encode(reply: Reply) -> bytes:
    """Make the document's bytes."""
    return json.dumps(document_of(reply), separators=(",", ":")).encode()


def decode(document: object, events: int) -> Reply:
    """Read the document that came back for a batch.

    Args:
        document: its bytes, or what JSON made of them.
        events: how many were in the batch.

    Raises:
        EnvelopeError: it says something that can't be.
    """
    try:
        if isinstance(document, bytes):
            read = _Document.model_validate_json(document)
        else:
            read = _Document.model_validate(document)
        if any(failure.index >= events for failure in read.failures):
            raise EnvelopeError("a failure is of no event of the batch")
        return Reply(
            {failure.index: failure.failure() for failure in read.failures},
            None if read.rest is None else read.rest.failure(),
            # A record's header without a value is not what Emit declares, and every broker takes it.
            [Emit(each.value, each.key, tuple(each.headers)) for each in read.results],  # type: ignore[arg-type]
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise EnvelopeError(f"not a reply of a host: {where}: {first['msg']}") from None


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "kind": "function" if failure.kind is FailureKind.FUNCTION else "terminal",
        "type": _text(failure.error_type[:_LONGEST_TYPE]),
        "message": _text(failure.message[:_LONGEST_MESSAGE]),
        "retryAfter": failure.retry_after,
        "retryable": failure.retryable,
        "counts": failure.counts,
        "place": _text(failure.place[:_LONGEST_PLACE]),
    }


def _text(text: str) -> str:
    """Python's text may hold half of a surrogate pair; JSON that does is refused by strict readers, ours among them."""
    return text.encode("utf-8", "replace").decode()


def _base64(value: Any) -> str | None:
    return None if value is None else b2a_base64(value, newline=False).decode("ascii")


def _bytes(value: object) -> object:
    return a2b_base64(value, strict_mode=True) if isinstance(value, str) else value


_Bytes = Annotated[bytes | None, BeforeValidator(_bytes)]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True, frozen=True)


class _Failure(_Part):
    kind: Literal["function", "terminal"]
    type: str
    message: str
    # The scheduler has a cap of its own; what is no float is kept out here.
    retry_after: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    retryable: bool = True
    counts: bool = True
    place: str = ""

    def failure(self) -> Failure:
        return Failure(
            kind=FailureKind(self.kind),
            error_type=self.type[:_LONGEST_TYPE],
            message=self.message[:_LONGEST_MESSAGE],
            retry_after=self.retry_after,
            retryable=self.retryable,
            # Only what is terminal can have met no function.
            counts=self.counts or self.kind == "function",
            place=self.place[:_LONGEST_PLACE],
        )


class _Named(_Failure):
    index: Annotated[int, Field(ge=0)]


class _Result(_Part):
    value: _Bytes = None
    key: _Bytes = None
    headers: list[tuple[str, _Bytes]] = []


class _Document(_Part):
    version: Literal[1]
    failures: list[_Named] = []
    rest: _Failure | None = None
    results: list[_Result] = []
