"""Batches that are hostile or damaged: how large they may become, and where they end."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.brokers.kafka.batches import end_of_batch
from dispatcher.brokers.kafka.codecs import (
    BatchTooLarge,
    at_most,
    lz4_bound,
    replace_decompressors,
    snappy_size,
    zstd_bound,
)

replace_decompressors()

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CODEC = pytest.mark.parametrize("codec", CODECS)


def batch(*values: bytes, codec: str | None = None, base: int = 0) -> bytes:
    """A batch as a producer sends it, at an offset as the broker writes it."""
    builder = DefaultRecordBatchBuilder(2, CODECS[codec] if codec else 0, 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, timestamp=0, key=None, value=value, headers=[])
    return struct.pack(">q", base) + bytes(builder.build())[8:]


@CODEC
def test_a_batch_is_decompressed_to_its_limit_and_no_further(codec: str) -> None:
    """At the limit it is read, one byte under it it is not; and with no limit, by whoever else reads, it is."""
    value = random.Random(1).randbytes(300_000) + bytes(700_000)
    data = batch(value, codec=codec)
    size = len(batch(value)) - 61
    with at_most(size):
        assert [record.value for record in DefaultRecordBatch(data)] == [value]
    with at_most(size - 1), pytest.raises(BatchTooLarge, match=f"max_batch_bytes={size - 1}"):
        list(DefaultRecordBatch(data))
    assert [record.value for record in DefaultRecordBatch(data)] == [value]


def several(compress: Callable[..., Any]) -> bytes:
    """Frames one after the other, which a decoder joins."""
    return bytes(compress(b"first" * 100)) + bytes(compress(bytes(900_000)))


def xerial(*blocks: bytes) -> bytes:
    """Snappy as Java writes it."""
    framed = b"".join(struct.pack(">i", len(each)) + each for each in map(cramjam.snappy.compress_raw, blocks))
    return b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + framed


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        ("zstd", several(cramjam.zstd.compress)),
        ("lz4", several(cramjam.lz4.compress)),
        ("gzip", several(gzip.compress)),
        ("snappy", xerial(b"first" * 100, bytes(900_000))),
    ],
)
def test_the_frames_of_a_batch_count_together(codec: str, payload: bytes) -> None:
    """A bomb may come in several frames, or blocks: each within the limit, all of them not."""
    import aiokafka.codec
    from aiokafka.record._crecords import default_records  # the C records: what this test's platform has

    decode = getattr(default_records, f"{codec}_decode")
    original = getattr(aiokafka.codec, f"{codec}_decode")
    with at_most(900_500):
        assert decode(payload) == original(payload)
    with at_most(900_499), pytest.raises(BatchTooLarge):
        decode(payload)


@given(st.lists(st.binary(max_size=300) | st.integers(0, 400_000).map(bytes), min_size=1, max_size=4), st.data())
def test_no_bound_is_less_than_what_comes_out(parts: list[bytes], data: st.DataObject) -> None:
    """What the frames' headers promise is never less than what the decoder then gives, whatever level made them."""
    raw = b"".join(parts)
    assert zstd_bound(bytes(cramjam.zstd.compress(raw, level=data.draw(st.integers(1, 9))))) >= len(raw)
    assert lz4_bound(bytes(cramjam.lz4.compress(raw, level=data.draw(st.integers(0, 9))))) >= len(raw)
    assert snappy_size(bytes(cramjam.snappy.compress_raw(raw))) == len(raw)


@CODEC
@given(data=st.data())
def test_a_damaged_payload_never_passes_the_limit(codec: str, data: st.DataObject) -> None:
    """Whatever bytes are changed or cut off, what is read is within the limit, or an error."""
    payload = bytearray(batch(bytes(200_000), codec=codec))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(61, len(payload) - 1))] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(62, len(payload))) :]
    with at_most(200_100):
        try:
            records = list(DefaultRecordBatch(bytes(payload)))
        except Exception:  # noqa: BLE001 - the decompressors have no common parent
            return
    assert sum(len(record.value or b"") for record in records) <= 200_100


def test_the_end_of_a_damaged_batch() -> None:
    """The header tells it, and so does what follows; where they differ, the lower counts, and it is always a step."""
    first, second = batch(*[b"x"] * 10, base=100), batch(b"y", base=110)
    assert end_of_batch(first, 100, 110) == 110
    assert end_of_batch(first + second, 100, 111) == 110
    assert end_of_batch(first + second, 104, 111) == 110
    # A batch may end past its last record, where compaction has taken it, and then there may be a gap.
    assert end_of_batch(first + batch(b"y", base=200), 100, 201) == 110


@pytest.mark.parametrize(
    ("at", "value", "end"),
    [
        pytest.param(23, 1 << 20, 110, id="the count of offsets, upward"),
        pytest.param(23, 3, 104, id="the count of offsets, downward"),
        pytest.param(23, -5, 101, id="the count of offsets, negative"),
        pytest.param(8, 1 << 30, 101, id="the length, upward"),
        pytest.param(8, 3, 101, id="the length, downward"),
        pytest.param(8, -9, 101, id="the length, negative"),
    ],
)
def test_no_damage_to_a_header_skips_what_follows(at: int, value: int, end: int) -> None:
    """With any field of it damaged, the end is never past the batch."""
    data = bytearray(batch(*[b"x"] * 10, base=100) + batch(b"y", base=110))
    struct.pack_into(">i", data, at, value)
    assert end_of_batch(bytes(data), 100, 111) == end
