"""The frames in which the dispatcher and a function's process talk.

A frame is the length of what follows (4 bytes, big-endian), its kind (1 byte), the length of its header (4 bytes), the
header as JSON, and bytes that the header tells the sizes of. Nothing in it can name code: what an untrusted process
sends is at worst a wrong value.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = [
    "FAILED",
    "LOG",
    "READY",
    "REPLY",
    "REQUEST",
    "START",
    "Bytes",
    "Frames",
    "InvalidFrame",
    "frame",
    "pack_headers",
]

#: To a process: how to set itself up; one invocation.
START, REQUEST = b"S", b"I"
#: From it: it is set up, or why it can't be; a log record; what an invocation came to.
READY, FAILED, LOG, REPLY = b"R", b"F", b"L", b"A"

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">cI")
#: Bytes of a header: 10,000 failures with messages of 1,000 characters fit in.
_LONGEST_HEADER = 16 << 20


class InvalidFrame(ValueError):
    """Raised when what came is no frame, or not the one that is due."""


def frame(kind: bytes, header: object, blobs: Sequence[bytes] = ()) -> bytes:
    """Make a frame.

    Raises:
        OverflowError: it is larger than its length can say, 4 GiB.
    """
    head = json.dumps(header, separators=(",", ":")).encode()
    length = _HEAD.size + len(head) + sum(map(len, blobs))
    if length > 0xFFFF_FFFF:
        raise OverflowError(f"{length:,} bytes are too many for one frame")
    return b"".join((_LENGTH.pack(length), _HEAD.pack(kind, len(head)), head, *blobs))


class Bytes:
    """The bytes behind a header, taken one after another."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def take(self, size: object) -> bytes | None:
        """The next ``size`` bytes; None for None."""
        if size is None:
            return None
        if type(size) is not int or not 0 <= size <= len(self._data) - self._at:
            raise InvalidFrame("a size is wrong")
        begin, self._at = self._at, self._at + size
        return self._data[begin : self._at]

    def take_headers(self, sizes: Any) -> tuple[tuple[str, bytes | None], ...]:
        """Headers of a record, as :func:`pack_headers` told their sizes."""
        if type(sizes) is not list:
            raise InvalidFrame("headers are a list")
        headers = []
        for item in sizes:
            if type(item) is not list or len(item) != 2 or type(item[0]) is not str:
                raise InvalidFrame("a header is a name and a size")
            headers.append((item[0], self.take(item[1])))
        return tuple(headers)

    def end(self) -> None:
        """Check that all of them were taken."""
        if self._at != len(self._data):
            raise InvalidFrame("there are bytes too many")


def pack_headers(headers: Sequence[tuple[str, bytes | None]], blobs: list[bytes]) -> list[list[Any]]:
    """Names and sizes of a record's headers; their bytes are added to ``blobs``."""
    return [[name, add(value, blobs)] for name, value in headers]


def add(value: bytes | None, blobs: list[bytes]) -> int | None:
    """Add bytes to ``blobs`` and return their size; None for None."""
    if value is None:
        return None
    blobs.append(value)
    return len(value)


class Frames:
    """Cuts a stream of bytes into frames; holds no more of it than one frame may have.

    Args:
        largest: bytes that a frame may have.
    """

    __slots__ = ("_buffer", "_largest")

    def __init__(self, largest: int) -> None:
        self._buffer = bytearray()
        self._largest = largest

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Any, Bytes]]:
        """Take what came; yield the kind, the header and the bytes of each frame that is whole.

        Raises:
            InvalidFrame: it is none, or too large.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            if not _HEAD.size <= length <= self._largest:
                raise InvalidFrame(f"a message of {length:,} bytes; {self._largest:,} are the most")
            if len(buffer) < _LENGTH.size + length:
                return
            body = bytes(memoryview(buffer)[_LENGTH.size : _LENGTH.size + length])
            del buffer[: _LENGTH.size + length]
            yield _read(body)


def _read(body: bytes) -> tuple[bytes, Any, Bytes]:
    kind, size = _HEAD.unpack_from(body)
    if size > min(_LONGEST_HEADER, len(body) - _HEAD.size):
        raise InvalidFrame("a header is too long")
    try:
        header = json.loads(body[_HEAD.size : _HEAD.size + size])
    except (ValueError, RecursionError) as error:
        raise InvalidFrame(f"a header is not JSON: {type(error).__name__}") from None
    return kind, header, Bytes(body, _HEAD.size + size)
