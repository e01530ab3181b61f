"""What a user may do on a cluster: CreateAcls, DeleteAcls and DescribeAcls (KIP-140), which aiokafka has no requests for.

The controller answers that a rule is made or gone; each broker learns of it a moment later, and until then decides as before.
So whoever changes rights here waits until every broker lists them as they are now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import ClassVar

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

READ, WRITE, DESCRIBE = 3, 4, 8

TOPIC, GROUP = 2, 3
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3
_TYPES = {"Topic": TOPIC, "Group": GROUP}
_PATTERNS = {"Literal": _LITERAL, "Prefixed": _PREFIXED}
_OPERATIONS = {"Read": READ, "Write": WRITE, "Describe": DESCRIBE}


class CreateAclsResponse(Response):
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", String("utf-8")))),
    )


class CreateAclsStruct(RequestStruct):
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission_type", Int8),
            ),
        )
    )


class CreateAcls(Request[CreateAclsStruct]):
    API_KEY = 30

    def __init__(self, *rules: tuple[object, ...]) -> None:
        self.rules = list(rules)

    def build(self, request_struct_class: type[CreateAclsStruct]) -> CreateAclsStruct:
        return request_struct_class(self.rules)


class DeleteAclsResponse(Response):
    API_KEY = 31
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                (
                    "matching_acls",
                    Array(
                        ("error_code", Int16),
                        ("error_message", String("utf-8")),
                        ("resource_type", Int8),
                        ("resource_name", String("utf-8")),
                        ("pattern_type", Int8),
                        ("principal", String("utf-8")),
                        ("host", String("utf-8")),
                        ("operation", Int8),
                        ("permission_type", Int8),
                    ),
                ),
            ),
        ),
    )


class DeleteAclsStruct(RequestStruct):
    API_KEY = 31
    API_VERSION = 1
    RESPONSE_TYPE = DeleteAclsResponse
    SCHEMA: ClassVar[Schema] = CreateAclsStruct.SCHEMA


class DeleteAcls(Request[DeleteAclsStruct]):
    API_KEY = 31

    def __init__(self, *rules: tuple[object, ...]) -> None:
        self.rules = list(rules)

    def build(self, request_struct_class: type[DeleteAclsStruct]) -> DeleteAclsStruct:
        return request_struct_class(self.rules)


class DescribeAclsResponse(Response):
    API_KEY = 29
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", String("utf-8")),
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                (
                    "acls",
                    Array(
                        ("principal", String("utf-8")),
                        ("host", String("utf-8")),
                        ("operation", Int8),
                        ("permission_type", Int8),
                    ),
                ),
            ),
        ),
    )


class DescribeAclsStruct(RequestStruct):
    API_KEY = 29
    API_VERSION = 1
    RESPONSE_TYPE = DescribeAclsResponse
    SCHEMA = Schema(
        ("resource_type", Int8),
        ("resource_name", String("utf-8")),
        ("pattern_type", Int8),
        ("principal", String("utf-8")),
        ("host", String("utf-8")),
        ("operation", Int8),
        ("permission_type", Int8),
    )


class DescribeAcls(Request[DescribeAclsStruct]):
    API_KEY = 29

    def __init__(self, rule: tuple[object, ...]) -> None:
        self.rule = rule

    def build(self, request_struct_class: type[DescribeAclsStruct]) -> DescribeAclsStruct:
        return request_struct_class(*self.rule)


def _rule(user: str, name: str, operation: int, kind: int) -> tuple[object, ...]:
    pattern = _PREFIXED if kind == GROUP else _LITERAL
    return (kind, name, pattern, f"User:{user}", "*", operation, _ALLOW)


async def allow(bootstrap: str, user: str, name: str, operation: int, *, kind: int = TOPIC) -> None:
    """Let a user do something with a topic, or with the groups whose names begin so."""
    results = await _send(bootstrap, CreateAcls(_rule(user, name, operation, kind)))
    assert [code for code, _ in results] == [0]


async def change(bootstrap: str, rules: Iterable[Mapping[str, str]], *, allowed: bool) -> None:
    """Give rights, or take them away, that are told as Kafka's tools do: ``Read``, ``Topic``, ``Literal``, a name, a principal."""
    made = [
        (
            _TYPES[rule["resource_type"]],
            rule["resource_name"],
            _PATTERNS[rule["pattern"]],
            rule["principal"],
            "*",
            _OPERATIONS[rule["operation"]],
            _ALLOW,
        )
        for rule in rules
    ]
    results = await _send(bootstrap, CreateAcls(*made) if allowed else DeleteAcls(*made))
    assert [result[0] for result in results] == [0] * len(made)
    assert allowed or [len(result[2]) for result in results] == [1] * len(made)  # type: ignore[arg-type]


async def forbid(bootstrap: str, user: str, name: str, operation: int, *, kind: int = TOPIC) -> None:
    """Take that right away again."""
    results = await _send(bootstrap, DeleteAcls(_rule(user, name, operation, kind)))
    assert [(code, len(matching)) for code, _, matching in results] == [(0, 1)]


async def _send(bootstrap: str, request: CreateAcls | DeleteAcls) -> list[tuple[object, ...]]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        results = list((await client.send(client.get_random_node(), request)).results)
        if any(code for code, *_ in results):
            return results
        async with asyncio.timeout(20):
            for broker in client.cluster.brokers():
                for rule in request.rules:
                    await _until_known(client, broker.nodeId, rule, allowed=isinstance(request, CreateAcls))
        return results
    finally:
        await client.close()


async def _until_known(client: AIOKafkaClient, node: int, rule: tuple[object, ...], *, allowed: bool) -> None:
    while bool((await client.send(node, DescribeAcls(rule))).resources) is not allowed:
        await asyncio.sleep(0.005)
