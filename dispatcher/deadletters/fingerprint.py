"""What failures of one cause have in common."""

from __future__ import annotations

import hashlib
import re

__all__ = ["fingerprint", "masked"]

_LENGTH = 12
_LONGEST = 300

#: From what is more to what is less: a UUID holds hexadecimals, and these hold numbers.
_MASKS = (
    (re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'|`[^`]*`"), "<text>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\S+@\S+"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=\d*[a-fA-F])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b"), "<id>"),
    # A word with a digit in it is an id: h17, order-9, 2026-03-01T12:00:00Z.
    (re.compile(r"\b[A-Za-z_]+[-_:#]?\d[\w:.-]*\w|\b[A-Za-z_]+[-_:#]?\d\b"), "<id>"),
    (re.compile(r"[+-]?\d[\d,._]*(?:[eE][+-]?\d+)?[\w%]*"), "<n>"),
)


def masked(message: str) -> str:
    """The first line of an error's message, without what differs from event to event: numbers, ids, quoted text."""
    line = message.strip().partition("\n")[0][:_LONGEST]
    for pattern, name in _MASKS:
        line = pattern.sub(name, line)
    return line


def fingerprint(function: str, error_type: str, place: str, message: str) -> str:
    """Twelve hexadecimal digits that are the same for the same function, error type and place.

    Where the place is not known (a time-out, a value that can't be decoded, another program's letter), the masked message
    stands in for it.
    """
    parts = (function, error_type, place or f"message:{masked(message)}")
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:_LENGTH]
