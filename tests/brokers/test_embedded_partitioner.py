"""Keys to partitions: the same numbers as Kafka's own clients."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.brokers.partitioner import key_hash, murmur2


@given(st.binary(max_size=100))
def test_the_hash_is_that_of_the_kafka_client(key: bytes) -> None:
    """For any key, of any length modulo 4, the hash equals the one in the client library."""
    assert murmur2(key) == reference(key)


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_own_test(key: bytes, signed: int) -> None:
    """The vectors of Kafka's UtilsTest hold, and the sign bit is cleared, not negated."""
    assert murmur2(key) == signed & 0xFFFFFFFF
    assert key_hash(key) == signed & 0x7FFFFFFF
