"""What a cluster says of itself, asked of one server that is well."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest
from kafka_server import Node

__all__ = ["find_coordinator", "find_leaders"]


def find_leaders(node: Node, stream: str) -> dict[int, int]:
    """The id of each partition's leader, as this server knows it; -1 where there is none."""
    [(_, _, _, partitions)] = _ask(node, MetadataRequest([stream])).topics
    return {partition: leader for _, partition, leader, *_ in partitions}


def find_coordinator(node: Node, group: str) -> int:
    """The id of the server that looks after a group, as this server knows it."""
    answer: int = _ask(node, FindCoordinatorRequest(group, 0)).coordinator_id
    return answer


def _ask(node: Node, request: Any) -> Any:
    async def ask() -> Any:
        connection = await create_conn("127.0.0.1", node.ports["plain"], request_timeout_ms=5_000)
        try:
            return await connection.send(request)
        finally:
            connection.close()

    return asyncio.run(ask())
