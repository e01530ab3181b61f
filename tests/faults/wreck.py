"""A log that is hostile or damaged, made on a real broker."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from kafka_server import KafkaCluster

__all__ = ["append", "bomb", "delete_before", "flip"]

_Pair = tuple[bytes, bytes]
_MEBIBYTE = 1 << 20


def append(
    bootstrap: str, stream: str, partition: int, batches: Iterable[Iterable[_Pair]], *, codec: str | None = None
) -> None:
    """Write batches of (key, value), each as one batch of the log."""

    async def go() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            max_batch_size=_MEBIBYTE,
            max_request_size=2 * _MEBIBYTE,
            compression_type=codec,
        )
        await producer.start()
        try:
            for pairs in batches:
                batch = producer.create_batch()
                for key, value in pairs:
                    assert batch.append(key=key, value=value, timestamp=None) is not None, "more than one batch"
                batch.close()
                await (await producer.send_batch(batch, stream, partition=partition))
        finally:
            await producer.stop()

    asyncio.run(go())


def flip(cluster: KafkaCluster, stream: str, partition: int, value: bytes) -> Path:
    """Change one byte of a record's value in the log of the (only) broker: its batch fails its checksum from now on."""
    [segment] = cluster.nodes[0].partition_directory(stream, partition).glob("*.log")
    data = segment.read_bytes()
    at = data.index(value) + len(value) - 1
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 0xFF]))
    return segment


def delete_before(bootstrap: str, stream: str, partition: int, offset: int) -> None:
    """What retention does: the log begins at ``offset`` from now on."""

    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(stream, partition): RecordsToDelete(offset)})
        finally:
            await admin.close()

    asyncio.run(go())


def bomb(bootstrap: str, stream: str, partition: int, size: int, *, codec: str) -> int:
    """Write a batch of one record whose value is ``size`` zeros; return how many bytes the batch has in the log."""
    batch = _batch(*_compress(codec, _record(size)))

    async def go() -> None:
        client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=60_000)
        await client.bootstrap()
        try:
            client.add_topic(stream)
            await client.force_metadata_update()
            leader = client.cluster.leader_for_partition(TopicPartition(stream, partition))
            request = ProduceRequest(None, -1, 60_000, [(stream, [(partition, batch)])])
            answer = await client.send(leader, request)
            [(_, [(_, code, *_)])] = answer.topics
            assert code == 0, code
        finally:
            await client.close()

    asyncio.run(go())
    return len(batch)


def _record(size: int) -> Iterator[bytes]:
    """One record, in pieces (the format: https://kafka.apache.org/documentation/#recordbatch)."""
    # Attributes, time and offset as at the batch's begin, no key; then the value, and no headers.
    begin = b"\0\0\0\1" + _varint(size)
    yield _varint(len(begin) + size + 1) + begin
    for at in range(0, size, _MEBIBYTE):
        yield bytes(min(_MEBIBYTE, size - at))
    yield b"\0"


def _varint(number: int) -> bytes:
    number = number << 1
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _compress(codec: str, pieces: Iterable[bytes]) -> tuple[int, bytes]:
    """The codec's number in Kafka, and what it makes of the pieces, which need no memory together."""
    if codec == "gzip":
        gzip = zlib.compressobj(9, wbits=31)
        return 1, b"".join([*map(gzip.compress, pieces), gzip.flush()])
    compressor = cramjam.zstd.Compressor() if codec == "zstd" else cramjam.lz4.Compressor()
    for piece in pieces:
        compressor.compress(piece)
    return 4 if codec == "zstd" else 3, bytes(compressor.finish())


def _batch(codec: int, records: bytes) -> bytes:
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", codec, 0, now, now, -1, -1, -1, 1) + records
    tail = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail
