"""What stands for a function whose code is not here, in a binding that the configuration alone makes."""

from __future__ import annotations

from bindings.binding import Binding
from bindings.event import Event

__all__ = ["function_elsewhere", "functions_elsewhere", "is_elsewhere"]


async def function_elsewhere(event: Event[bytes | None]):  # type: ignore[no-untyped-def]  # noqa: ANN201 - what it returns is not known
    """Stands for a function that takes one event; its target runs it."""
    raise NotImplementedError(f"{event.id}: the code of this function is at its target")


async def functions_elsewhere(events: list[Event[bytes | None]]):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as above
    """Stands for a function that takes batches; its target runs it."""
    raise NotImplementedError(f"{len(events)} events: the code of this function is at its target")


def is_elsewhere(binding: Binding) -> bool:
    """Whether the function has no code here, so that there is no place in it to point to."""
    return binding.function in (function_elsewhere, functions_elsewhere)
