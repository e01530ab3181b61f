"""What the worker asks of every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bindings import Emit
from dispatcher.core.delivery import Delivery, Failure

__all__ = ["Invoker", "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an invocation came to.

    Attributes:
        failures: index in the batch -> what failed.
        rest: what happened to all others, when they failed together and nobody said which; None when they are done.
        results: what the function returned and emitted, to be produced to its output stream.
    """

    failures: Mapping[int, Failure] = field(default_factory=dict)
    rest: Failure | None = None
    results: Sequence[Emit] = ()


class Invoker(Protocol):
    """Calls one binding's target. Any failure is a :class:`Reply`; only cancellation is raised.

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
