"""Connecting to several servers, of which one may be there and say nothing: stopped, or behind dropped packets."""
# ruff: noqa: SLF001 - aiokafka has no public name for this; read in version 0.14, and a test holds it

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import ConnectionGroup

__all__ = ["connect_apart"]


def connect_apart(owner: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient, timeout: float) -> None:
    """Have a client connect to each server by itself, and give up on one that does not answer.

    aiokafka makes one connection at a time, and waits for each as long as for a request. So a silent server holds up
    each connection to the others, and each time that metadata is asked of it, the news of who leads its partitions now.

    Args:
        owner: what has the client; not started yet.
        timeout: seconds in which a server has to take a connection and let this client in.
    """
    client: Any = owner.client if isinstance(owner, AIOKafkaProducer) else owner._client
    connect = client._get_conn
    turns: defaultdict[tuple[Any, ConnectionGroup], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect_to(
        node_id: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        connection = client._conns.get((node_id, group))
        if connection is not None and connection.connected():
            return connection
        async with turns[node_id, group]:
            try:
                async with asyncio.timeout(timeout):
                    return await connect(node_id, group=group, no_hint=no_hint)
            except TimeoutError:
                # As after any other failure: its partitions may have another leader.
                client.force_metadata_update()
                return None

    client._get_conn_lock_value = contextlib.nullcontext()
    client._get_conn = connect_to
