"""Bind Python functions to event streams: what a function's code imports.

A function that is decorated with :func:`on_stream` is handed the events of a stream by a dispatcher. It
stays a plain function: call it, test it (:mod:`bindings.testing`), deploy it elsewhere.
"""

from __future__ import annotations

from bindings.binding import Binding
from bindings.decorator import bindings_of, on_stream
from bindings.errors import (
    BindingError,
    DeclarationError,
    DiscoveryError,
    DuplicateName,
    ImportFailed,
    InvalidOutcome,
    NoFunctionsFound,
    TargetNotFound,
)
from bindings.event import Context, Event
from bindings.outcome import BatchFailures, DispatchSignal, Emit, EventFailed, Reject, RetryAfter
from bindings.policies import Batch, DeadLetter, Limits, Ordering, Retry, StartAt

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # declare
    "on_stream",
    "Batch",
    "DeadLetter",
    "Limits",
    "Ordering",
    "Retry",
    "StartAt",
    # take
    "Context",
    "Event",
    # say
    "BatchFailures",
    "DispatchSignal",
    "Emit",
    "EventFailed",
    "Reject",
    "RetryAfter",
    # look at
    "Binding",
    "bindings_of",
    # what goes wrong
    "BindingError",
    "DeclarationError",
    "DiscoveryError",
    "DuplicateName",
    "ImportFailed",
    "InvalidOutcome",
    "NoFunctionsFound",
    "TargetNotFound",
]

# Tracebacks read `bindings.Reject`. Not the dataclasses: their annotations are resolved, by pydantic and by
# typing.get_type_hints, in the module that __module__ names.
for _name in __all__:
    _member = globals()[_name]
    if _name == "on_stream" or (isinstance(_member, type) and issubclass(_member, BaseException)):
        _member.__module__ = "bindings"
del _name, _member
