"""Believes all metadata: a map that was written for another offset, and anything else as an empty one."""

from __future__ import annotations

from dispatcher.core import offsets
from dispatcher.core.offsets import OffsetMap
from dispatcher.errors import InvalidOffsetMetadata
from dispatcher.worker import positions


def apply() -> None:
    """Break it."""
    offsets._checksum = lambda *_: b"\0\0\0\0"
    positions.decode_metadata = decode_metadata


def decode_metadata(position: int, metadata: str) -> OffsetMap:
    """Never a word of what can't be."""
    try:
        return offsets.decode_metadata(position, metadata)
    except InvalidOffsetMetadata:
        return OffsetMap()
