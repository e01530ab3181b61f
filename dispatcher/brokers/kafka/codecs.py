"""Decompression with a limit: a batch says nothing of its size before it is decompressed.

20 KB of zstd can be a gigabyte, and the broker takes them: it checks the size of what is sent. aiokafka's decompressors
have no limit, and its records no place for one, so the functions that it calls are replaced, once for the process.
They do what they did but for a consumer of ours, which reads within :func:`at_most`.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import struct
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

with contextlib.suppress(ImportError):  # then aiokafka asks none of us: it raises UnsupportedCodecError
    import cramjam

__all__ = ["BatchTooLarge", "at_most", "lz4_bound", "replace_decompressors", "snappy_size", "zstd_bound"]

_Decode = Callable[[Any], bytes]

_limit: ContextVar[int | None] = ContextVar("max_batch_bytes", default=None)

_STEP = 1024 * 1024
_ZSTD, _ZSTD_SKIPPABLE = 0xFD2FB528, 0x184D2A50
_ZSTD_BLOCK = 128 * 1024
_LZ4 = 0x184D2204
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER = 16


class BatchTooLarge(Exception):
    """Raised instead of decompressing a batch to more than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"its batch is more than max_batch_bytes={limit} when it is decompressed")


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Within it, by this task alone, no batch is decompressed to more bytes.

    Raises:
        BatchTooLarge: out of aiokafka, where a batch would be.
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


@functools.cache
def replace_decompressors() -> None:
    """Put ours where aiokafka's records look for theirs."""
    for batch in (DefaultRecordBatch, LegacyRecordBatch):
        module: Any = sys.modules[batch.__module__]  # the one in C, or where it can't be had the one in Python
        for name, limited in _LIMITED.items():
            if (decode := getattr(module, name, None)) is not None:
                setattr(module, name, _limited(decode, limited))


def _limited(decode: _Decode, limited: Callable[[_Decode, bytes, int], bytes]) -> _Decode:
    @functools.wraps(decode)
    def decode_at_most(payload: Any) -> bytes:
        limit = _limit.get()
        return decode(payload) if limit is None else limited(decode, bytes(payload), limit)

    return decode_at_most


def _gzip(_decode: _Decode, payload: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        # In steps, for it makes room three times over for what it is asked for.
        while part := file.read(_STEP):
            left -= len(part)
            if left < 0:
                parts.clear()  # the error's traceback would hold it, for as long as the error is held
                raise BatchTooLarge(limit)
            parts.append(part)
    return b"".join(parts)


def _snappy(decode: _Decode, payload: bytes, limit: int) -> bytes:
    if snappy_size(payload) > limit:
        raise BatchTooLarge(limit)
    return decode(payload)


def _zstd(decode: _Decode, payload: bytes, limit: int) -> bytes:
    return decode(payload) if zstd_bound(payload) <= limit else _into(cramjam.zstd.decompress_into, payload, limit)


def _lz4(decode: _Decode, payload: bytes, limit: int) -> bytes:
    return decode(payload) if lz4_bound(payload) <= limit else _into(cramjam.lz4.decompress_into, payload, limit)


def _into(decompress_into: Callable[[bytes, bytearray], int], payload: bytes, limit: int) -> bytes:
    """For what may be too large: exact, and dearer by the room that is made for it first."""
    room = bytearray(limit)
    try:
        size = decompress_into(payload, room)
    except cramjam.DecompressionError as error:
        room.clear()  # as above
        if "whole buffer" in str(error):
            raise BatchTooLarge(limit) from None
        raise
    return bytes(memoryview(room)[:size])


_LIMITED: dict[str, Callable[[_Decode, bytes, int], bytes]] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _lz4,
    "zstd_decode": _zstd,
}


def snappy_size(payload: bytes) -> int:
    """How large it says that it will be, of each block when it is xerial's framing; more is not decompressed."""
    if not payload.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_len(payload))
    total, at = 0, _XERIAL_HEADER
    while at < len(payload):
        (size,) = struct.unpack_from(">i", payload, at)
        if size <= 0:
            raise ValueError(f"a snappy block of {size} bytes")
        at += 4
        # Its size comes first, in five bytes at most.
        total += cramjam.snappy.decompress_raw_len(payload[at : at + min(size, 8)])
        at += size
    return total


def zstd_bound(payload: bytes) -> float:
    """The most bytes that it can become, read from the headers of its blocks (RFC 8878); infinite when they are damaged."""
    total, at = 0, 0
    try:
        while at < len(payload):
            magic, descriptor = struct.unpack_from("<IB", payload, at)
            if magic & ~0xF == _ZSTD_SKIPPABLE:
                at += 8 + int.from_bytes(payload[at + 4 : at + 8], "little")
                continue
            if magic != _ZSTD:
                return float("inf")
            single = descriptor >> 5 & 1
            at += 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
            last = 0
            while not last:
                low, high = struct.unpack_from("<HB", payload, at)
                header = high << 16 | low
                last, kind, size = header & 1, header >> 1 & 3, header >> 3
                # A compressed block says how long it is, not how long it was.
                total += _ZSTD_BLOCK if kind == 2 else size
                at += 3 + (1 if kind == 1 else size)
            at += 4 * (descriptor >> 2 & 1)
    except struct.error:
        return float("inf")
    return total


def lz4_bound(payload: bytes) -> float:
    """The same for LZ4 frames, as their format's description has them."""
    total, at = 0, 0
    try:
        while at < len(payload):
            magic, flags, sizes = struct.unpack_from("<IBB", payload, at)
            if magic != _LZ4:
                return float("inf")
            largest = 1 << 8 + 2 * (sizes >> 4 & 7)
            at += 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
            while (size := struct.unpack_from("<I", payload, at)[0]) != 0:
                total += largest
                at += 4 + (size & 0x7FFFFFFF) + 4 * (flags >> 4 & 1)
            at += 4 + 4 * (flags >> 2 & 1)
    except struct.error:
        return float("inf")
    return total
