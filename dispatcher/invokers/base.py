"""What the worker asks of every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from bindings import Emit
from bindings.invocation import Reply
from dispatcher.core.delivery import Delivery

__all__ = ["Call", "CallsOut", "Invoker", "WarmsUp"]


class Invoker(Protocol):
    """Calls one binding's target. Any failure is a :class:`~bindings.invocation.Reply`; only cancellation is raised.

    Attributes:
        concurrency: invocations that it can run at once; the worker starts no more.
        keeps_time: it ends an invocation at the function's timeout itself, so the worker need not cancel it.
    """

    concurrency: int
    keeps_time: bool

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Hand the events over and wait for what becomes of them. Cancelled when the attempt's time is up."""

    def results(self, returned: object) -> Sequence[Emit]:
        """Read the results in what a function returned: none where the binding emits nothing."""

    async def close(self) -> None:
        """Let go of threads and connections."""


@runtime_checkable
class WarmsUp(Protocol):
    """An invoker that has something to do before the first event; it is done beside the worker's own start."""

    async def warm_up(self) -> None:
        """Wake the target up. What can't be done is logged, and never raised."""


class Call(NamedTuple):
    """What a trace says of a call over a network.

    Attributes:
        name: of its span.
        attributes: by OpenTelemetry's conventions; no part of a URL that could be secret.
    """

    name: str
    attributes: Mapping[str, str | int]


@runtime_checkable
class CallsOut(Protocol):
    """An invoker whose function is behind a network."""

    call: Call
