"""Which partition a record goes to: the rule of Kafka's own clients, so that a key means the same one on each broker."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["key_hash", "murmur2"]

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 of ``data``, unsigned, with the seed that Kafka's Java client uses.

    The algorithm is Austin Appleby's MurmurHash2. It is written out here because importing the Kafka client for it
    takes 140 ms, which the embedded broker need not pay.
    """
    size = len(data)
    whole = size & ~3
    h = _SEED ^ size
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole != size:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=16_384)
def key_hash(key: bytes) -> int:
    """The number whose remainder by the partition count is the partition of ``key``.

    Kafka clears the sign bit rather than taking the absolute value (``Utils.toPositive``). Cached, because the hash
    costs about 0.2 us a byte here and keys come again.
    """
    return murmur2(key) & 0x7FFFFFFF
