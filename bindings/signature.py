"""From a function's annotations to how its events are decoded and passed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Signature"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """How one function takes its events.

    Attributes:
        parameter: the name of the parameter that takes the event or the batch.
        batch: the parameter is a ``list[...]``.
        wants_event: it takes :class:`~bindings.event.Event` rather than the bare value.
        context: the name of the parameter that takes the :class:`~bindings.event.Context`, or None.
        context_first: the context comes before the event.
        is_async: the function is a coroutine function.
        returns: the function is annotated to return something other than None.
        decode: from a record's value to what the function takes; raises ``ValueError`` (pydantic's and
            msgspec's errors are its children) when the bytes are not that.
        type_name: the annotation as a person would write it, for lists and manifests.
    """

    parameter: str
    batch: bool
    wants_event: bool
    context: str | None
    context_first: bool
    is_async: bool
    returns: bool
    decode: Callable[[bytes | None], Any]
    type_name: str
