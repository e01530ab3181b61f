"""What goes wrong before a function runs, and what can't be read after it.

BindingError
├── DeclarationError      (also a TypeError and a ValueError) a decorated function can't be bound as it stands
├── InvalidOutcome        what a function returned, or said of its batch, can't be read
├── InvalidManifest       (also a ValueError) a document is no manifest that this version can read
└── DiscoveryError        (also an ImportError) functions can't be collected
    ├── TargetNotFound    there is no such folder, file, module or function
    ├── ImportFailed      the user's own code failed while it was imported
    ├── NoFunctionsFound  nothing there is decorated with ``@on_stream``
    └── DuplicateName     two functions have one name, so they would share a consumer group
"""

from __future__ import annotations

import inspect
from typing import Self

__all__ = [
    "BindingError",
    "DeclarationError",
    "DiscoveryError",
    "DuplicateName",
    "ImportFailed",
    "InvalidManifest",
    "InvalidOutcome",
    "NoFunctionsFound",
    "TargetNotFound",
    "place_of",
]


class BindingError(Exception):
    """The parent of all of them. The message says what to change."""


class DeclarationError(BindingError, TypeError, ValueError):
    """Raised at import when a function and its ``@on_stream`` options can't be bound as they stand."""

    @classmethod
    def at(cls, function: object, problem: object) -> Self:
        """Make the error that begins with where ``function`` is: ``file:line: name: problem``."""
        return cls(f"{place_of(function)}: {getattr(function, '__qualname__', repr(function))}: {problem}")


class InvalidOutcome(BindingError):
    """Raised when what a function returned, or said of its batch, can't be read: the invocation has failed."""


class InvalidManifest(BindingError, ValueError):
    """Raised when a document is no manifest, or one that this version can't read; the message says where."""


class DiscoveryError(BindingError, ImportError):
    """Raised when functions can't be collected from what was named."""


class TargetNotFound(DiscoveryError):
    """Raised when there is no such folder, file, module or function."""


class ImportFailed(DiscoveryError):
    """Raised when the user's own code failed while it was imported; ``__cause__`` is what it raised."""


class NoFunctionsFound(DiscoveryError):
    """Raised when nothing in the target is decorated with ``@on_stream``."""


class DuplicateName(DiscoveryError):
    """Raised when two functions have one name: they would share a consumer group and take each other's events."""


def place_of(function: object) -> str:
    """Where a function is defined, as ``file:line``; its module when it has no line."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    if code is None:
        return str(getattr(function, "__module__", None) or type(function).__module__)
    return f"{code.co_filename}:{code.co_firstlineno}"
