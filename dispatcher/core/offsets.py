"""Which offsets of a partition are done, and how that travels in the commit metadata.

The committed offset is the lowest one that is not done. What is done beyond it, and the attempts used by
what is not, is written into the commit's metadata, so that a successor delivers again only what was
really in flight and goes on counting where this owner stood.

The metadata is ASCII text: ``dsp1`` (a name and a version), a letter for the encoding, a dot, and base64::

    r  run lengths     b  bit set     R, B  the same, deflated (RFC 1951)

Behind the base64 stand the body and four bytes, the CRC-32 of the committed offset (eight bytes) and the body, most
significant byte first: a map that was damaged, or moved to another offset with a tool, is not believed. The body,
where it is not deflated, holds as varints (LEB128) the number of bytes of the map, the map, and pairs of
(offset - previous offset, attempts). The map speaks of the offsets from the committed one on: run lengths alternate
"not done" and "done", beginning with "not done"; in the bit set, least significant bit first, 1 is done.
The smallest of the four that fits is written.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dispatcher.core.delivery import Delivery
from dispatcher.errors import InvalidOffsetMetadata

__all__ = [
    "METADATA_LIMIT",
    "OffsetMap",
    "OffsetTracker",
    "decode_metadata",
    "encode_metadata",
    "fit_metadata",
    "merge_offsets",
]

#: The broker's default ``offset.metadata.max.bytes``.
METADATA_LIMIT = 4096

_MAGIC = "dsp1"
# A map of more offsets, or more bytes, than this was not written by us: nothing is held for so long. It bounds
# what a damaged or hostile commit can make us allocate.
_MAX_RANGE = 1 << 40
_MAX_BODY = 1 << 16
# A wider bit set is larger than the broker takes, even before base64.
_MAX_BITS = 8 * METADATA_LIMIT
# Pending offsets that are looked at together: as a rule only those near the first have gaps between them.
_TOGETHER = 256


class OffsetMap(NamedTuple):
    """What is known of the offsets at and beyond a committed one.

    Attributes:
        done: half-open ranges of offsets that are done, ascending, none touching another.
        attempts: offset -> attempts used, for offsets that are not done.
    """

    done: Sequence[tuple[int, int]] = ()
    attempts: dict[int, int] = {}  # noqa: RUF012 - never written to


class OffsetTracker:
    """Which offsets of one partition are done, in one ownership of it.

    Invariants:
        * ``position`` never passes an offset that is pending, and never goes back;
        * an offset is pending from the moment it is admitted until it is completed, once;
        * offsets that were never received (compacted away, transaction markers) count as done once a
          later one has been received.

    Attributes:
        pending: offset -> delivery of what was admitted and is not done, in offset order (a dict keeps
            the order of insertion, and records are admitted in theirs). The first is the lowest not done.
        end: the offset after the last one received.
        has_histories: whether a pending delivery may have a history, so that attempts must be looked for.
        touched: how often a history was, so that attempts may have changed since the last look.
    """

    __slots__ = ("attempts", "end", "has_histories", "pending", "restored", "touched")

    def __init__(self, position: int, offsets: OffsetMap) -> None:
        self.end = position
        self.has_histories = False
        self.touched = 0
        self.pending: dict[int, Delivery] = {}
        self.restored = deque(offsets.done)
        self.attempts = dict(offsets.attempts)

    @property
    def state(self) -> tuple[int, int, int]:
        """As long as it is the same, so are the position and the map: what is admitted moves the end, what is done is counted."""
        return self.end, len(self.pending), self.touched

    @property
    def position(self) -> int:
        """The lowest offset that is not done: what may be committed."""
        return next(iter(self.pending), self.end)

    def is_done(self, offset: int) -> bool:
        """Whether a former owner completed the offset. Ask in ascending order: what was passed is forgotten."""
        while self.restored and self.restored[0][1] <= offset:
            self.restored.popleft()
        return bool(self.restored) and self.restored[0][0] <= offset

    def advance(self, offset: int) -> None:
        """Take note that everything below ``offset`` was received, or does not exist."""
        self.end = max(self.end, offset)

    def offset_map(self) -> OffsetMap:
        """What is done beyond the position, and the attempts used by what is not."""
        done = _gaps(list(self.pending), self.end)
        attempts: dict[int, int] = {}
        if self.has_histories:
            histories = {
                offset: delivery.history for offset, delivery in self.pending.items() if delivery.history is not None
            }
            self.has_histories = bool(histories)
            attempts = {offset: history.attempts for offset, history in histories.items() if history.attempts}
        for first, stop in self.restored:
            if stop > self.end:
                begin = max(first, self.end)
                if done and done[-1][1] == begin:
                    begin = done.pop()[0]
                done.append((begin, stop))
        attempts.update((offset, count) for offset, count in self.attempts.items() if offset >= self.end)
        return OffsetMap(done, attempts)


def merge_offsets(position: int, offsets: OffsetMap, other_position: int, other: OffsetMap) -> tuple[int, OffsetMap]:
    """What two owners of a partition have done between them: the lowest offset that neither did, and the map beyond it.

    Args:
        position: where the one stands; nothing below it is told.
        offsets: what it knows beyond.
        other_position: where the other stands: it has done all below.
        other: what it knows beyond.
    """
    done: list[tuple[int, int]] = []
    for start, stop in sorted([(position, other_position), *offsets.done, *other.done]):
        begin = max(start, position)
        if done and begin <= done[-1][1]:
            done[-1] = (done[-1][0], max(stop, done[-1][1]))
        elif begin < stop:
            done.append((begin, stop))
    if done and done[0][0] == position:
        position = done.pop(0)[1]
    covered = iter(done)
    current = next(covered, None)
    attempts: dict[int, int] = {}
    for offset in sorted(offsets.attempts.keys() | other.attempts.keys()):
        while current is not None and current[1] <= offset:
            current = next(covered, None)
        if offset >= position and (current is None or offset < current[0]):
            attempts[offset] = max(offsets.attempts.get(offset, 0), other.attempts.get(offset, 0))
    return position, OffsetMap(done, attempts)


def encode_metadata(position: int, offsets: OffsetMap, limit: int = METADATA_LIMIT, kinds: str = "rbRB") -> str:
    """Write the map as commit metadata for a commit at ``position``.

    When nothing fits ``limit`` bytes, the far end of the map is left out, so that its events are delivered
    again: the near end is what holds the commit up, and costs most to repeat.

    Args:
        position: the committed offset; all of ``done`` lies beyond it.
        offsets: what is done and what was tried.
        limit: bytes, the broker's ``offset.metadata.max.bytes``.
        kinds: the encodings to choose from; a test may name one.
    """
    return fit_metadata(position, offsets, limit, kinds)[0]


def fit_metadata(
    position: int, offsets: OffsetMap, limit: int = METADATA_LIMIT, kinds: str = "rbRB"
) -> tuple[str, bool]:
    """What :func:`encode_metadata` writes, and whether it is all of the map."""
    whole = True
    done, attempts = list(offsets.done), sorted(offsets.attempts.items())
    while done or attempts:
        wide = bool(done) and done[-1][1] - position > _MAX_BITS
        tried = _write_attempts(position, attempts)
        bodies = {"r": _write_runs(position, done), "b": b"" if wide else _write_bits(position, done)}
        sealed = {form: _varint(len(body)) + body + tried for form, body in bodies.items()}
        texts = [_encode(position, sealed[kind.lower()], kind) for kind in kinds if not (wide and kind in "bB")]
        text = min((text for text in texts if text is not None), key=len, default=None)
        if text is not None and len(text) <= limit:
            return text, whole
        whole = False
        if len(done) > 1:
            done = done[: len(done) // 2]
        elif attempts:
            # One range is small: it is the attempts that do not fit. Half of them are forgotten.
            attempts = attempts[: len(attempts) // 2]
        else:
            done = []
    return "", whole


def decode_metadata(position: int, metadata: str) -> OffsetMap:
    """Read what :func:`encode_metadata` wrote.

    Raises:
        InvalidOffsetMetadata: it was written by another program, or is damaged.
    """
    if not metadata:
        return OffsetMap()
    kind, dot, text = metadata[len(_MAGIC) :].partition(".")
    if not metadata.startswith(_MAGIC) or kind not in tuple("rbRB") or not dot:
        raise InvalidOffsetMetadata(f"not written by a dispatcher: {metadata[:40]!r}")
    try:
        sealed = base64.b64decode(text.encode("ascii"), validate=True)
        body = sealed[:-4]
        if sealed[-4:] != _checksum(position, body):
            msg = f"its checksum is not that of a map at offset {position}"
            raise ValueError(msg)
        if kind.isupper():
            inflate = zlib.decompressobj(-15)
            body = inflate.decompress(body, _MAX_BODY)
            if not inflate.eof:
                raise InvalidOffsetMetadata("damaged: the deflated map does not end")
        numbers = _varints(body)
        length = next(numbers)
        start = len(_varint(length))
        if start + length > len(body) or (kind in "bB" and 8 * length > _MAX_BITS):
            msg = f"a map of {length} bytes"
            raise ValueError(msg)
        runs = _read_runs(position, body[start : start + length], kind.lower())
        attempts = _read_attempts(position, body[start + length :])
    except (ValueError, binascii.Error, zlib.error, StopIteration) as error:
        raise InvalidOffsetMetadata(f"damaged: {error}") from error
    return OffsetMap(runs, attempts)


def _gaps(offsets: Sequence[int], end: int) -> list[tuple[int, int]]:
    """What lies between offsets, which are in order, and behind the last of them.

    A part with no gap in it is seen at one look: a map of 16,000 takes 85 us, where a look at each delivery took 510, and one is
    made for each 2,000 events.
    """
    gaps: list[tuple[int, int]] = []
    start = offsets[0] if offsets else end
    for begin in range(0, len(offsets), _TOGETHER):
        part = offsets[begin : begin + _TOGETHER]
        if part[-1] - start == len(part) - 1:
            start = part[-1] + 1
            continue
        for offset in part:
            if offset > start:
                gaps.append((start, offset))
            start = offset + 1
    if end > start:
        gaps.append((start, end))
    return gaps


def _encode(position: int, data: bytes, kind: str) -> str | None:
    if len(data) >= _MAX_BODY:
        # However small it deflates, nobody would read it back.
        return None
    if kind.isupper():
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = deflate.compress(data) + deflate.flush()
    return f"{_MAGIC}{kind}.{base64.b64encode(data + _checksum(position, data)).decode('ascii')}"


def _checksum(position: int, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(position.to_bytes(8, "big"))).to_bytes(4, "big")


def _write_runs(position: int, done: Iterable[tuple[int, int]]) -> bytes:
    numbers: list[int] = []
    for start, stop in done:
        numbers += (start - position, stop - start)
        position = stop
    return _all_varints(numbers)


def _write_attempts(position: int, attempts: Iterable[tuple[int, int]]) -> bytes:
    numbers: list[int] = []
    for offset, count in attempts:
        numbers += (offset - position, count)
        position = offset
    return _all_varints(numbers)


def _write_bits(position: int, done: Sequence[tuple[int, int]]) -> bytes:
    digits: list[str] = []
    for start, stop in done:
        digits += ("0" * (start - position), "1" * (stop - start))
        position = stop
    # By its digits, a number that is read from the highest: setting bits in one takes a copy of it for each range.
    bits = int("".join(digits)[::-1] or "0", 2)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _read_runs(position: int, body: bytes, kind: str) -> list[tuple[int, int]]:
    done: list[tuple[int, int]] = []
    if kind == "r":
        numbers = _varints(body)
        for gap in numbers:
            start = position + gap
            position = start + next(numbers)
            if position == start or (gap == 0 and done):
                msg = "an empty run in it"
                raise ValueError(msg)
            done.append((start, position))
        return done
    bits = int.from_bytes(body, "little")
    while bits:
        gap = (bits & -bits).bit_length() - 1
        bits >>= gap
        length = (~bits & (bits + 1)).bit_length() - 1
        bits >>= length
        done.append((position + gap, position + gap + length))
        position += gap + length
    return done


def _read_attempts(position: int, body: bytes) -> dict[int, int]:
    attempts = {}
    numbers = _varints(body)
    for gap in numbers:
        position += gap
        attempts[position] = next(numbers)
    return attempts


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _all_varints(numbers: Sequence[int]) -> bytes:
    """Each of the numbers as a varint; most are below 128 and bytes as they are, so whole parts of them are looked at once."""
    parts = []
    for begin in range(0, len(numbers), _TOGETHER):
        part = numbers[begin : begin + _TOGETHER]
        parts.append(bytes(part) if max(part) <= 0x7F else b"".join([_varint(number) for number in part]))
    return b"".join(parts)


def _varints(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if number > _MAX_RANGE or shift > 63:
            msg = "a number in it is too large"
            raise ValueError(msg)
        if byte < 0x80:
            if byte == 0 and shift > 7:
                msg = "a number in it is longer than it need be"
                raise ValueError(msg)
            yield number
            number = shift = 0
    if shift:
        msg = "it ends inside a number"
        raise ValueError(msg)
