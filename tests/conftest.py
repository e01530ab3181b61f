"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings
from kafka_server import KafkaCluster, KafkaUnavailable

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("dispatch", deadline=None)
settings.load_profile("dispatch")

_EXTERNAL = "KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio: the client library for Kafka does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A call from the dispatcher that blocks the event loop fails the test, unless its mark says that it is meant to."""
    if request.node.get_closest_marker("blocks_the_loop"):
        yield
        return
    # A test that starts a Kafka of its own waits for it where it stands.
    with blockbuster_ctx("dispatcher", excluded_modules=["dispatcher.devkafka"]):
        yield


@pytest.fixture(scope="session")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """An Apache Kafka of our own: for tests that need its files, its TLS or its users."""
    if os.environ.get(_EXTERNAL):
        pytest.skip(f"needs a Kafka of its own, and {_EXTERNAL} names another")
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"))
    try:
        cluster.__enter__()
    except KafkaUnavailable as error:
        _cannot(str(error))
    try:
        yield cluster
    finally:
        cluster.__exit__()


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """The addresses of a real Kafka: those in KAFKA_BOOTSTRAP_SERVERS, else of one that is started now."""
    if external := os.environ.get(_EXTERNAL):
        return external
    cluster: KafkaCluster = request.getfixturevalue("kafka_cluster")
    return cluster.bootstrap()


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no Kafka to test with: {reason}")
    pytest.skip(f"no Kafka to test with: {reason}")
