"""What a test is set up with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bindings import Binding, bindings_of
from dispatcher.config import Settings
from dispatcher.errors import ConfigurationError

__all__ = ["Plan", "resolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The arguments of :func:`dispatcher.testing.dispatching`, checked."""

    bindings: tuple[Binding, ...]
    settings: Settings
    partitions: int | Mapping[str, int]
    start: datetime
    seed: int
    streams: tuple[str, ...]

    def partitions_of(self, stream: str) -> int:
        """How many partitions the stream is made with."""
        return self.partitions if isinstance(self.partitions, int) else self.partitions.get(stream, 1)


def resolve(functions: tuple[Callable[..., Any] | Binding, ...]) -> tuple[Binding, ...]:
    """The bindings of these functions, all of them where one has several.

    Raises:
        TypeError: one of them is not decorated, or there is none.
        DeclarationError: its annotations can't be used.
        ConfigurationError: two have the same name.
    """
    if not functions:
        raise TypeError("dispatching() needs a function: dispatching(check_limit)")
    found: list[Binding] = []
    for function in functions:
        own = (function,) if isinstance(function, Binding) else bindings_of(function)
        if not own:
            name = getattr(function, "__qualname__", repr(function))
            raise TypeError(
                f"{name} has no binding, so nothing would be handed to it: decorate it with @on_stream(...)"
            )
        found += own
    names = [binding.name for binding in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"two functions are named {', '.join(doubled)}: the name makes the consumer group")
    return tuple(found)
