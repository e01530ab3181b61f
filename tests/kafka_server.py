"""A real Apache Kafka for tests: the development one, with the listeners and the users that only tests need.

KRaft, combined mode, on free ports of 127.0.0.1. Each node has three listeners for clients: ``plain``, ``sasl``
(SASL_PLAINTEXT with PLAIN and SCRAM-SHA-512) and ``tls`` (a certificate for ``localhost`` alone).
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import trustme
from cryptography.hazmat.primitives import serialization

from dispatcher.devkafka import KafkaServer, KafkaUnavailable, find_classpath, find_java, free_ports

__all__ = ["SUPER_USER", "USER_WITHOUT_RIGHTS", "KafkaCluster", "KafkaUnavailable", "Node", "free_ports"]

SUPER_USER = ("app", "app-secret")
USER_WITHOUT_RIGHTS = ("guest", "guest-secret")


class Node(KafkaServer):
    """One server process: broker and controller."""

    def __init__(self, number: int, directory: Path, java: str, classpath: str, ports: dict[str, int]) -> None:
        super().__init__(directory, java, classpath)
        self.id = number
        self.ports = ports

    def partition_directory(self, topic: str, partition: int) -> Path:
        """Where the segments of a partition are."""
        return self.data / f"{topic}-{partition}"


class KafkaCluster:
    """A cluster of ``nodes`` servers in ``directory``. A context manager; the directory stays, with the logs."""

    def __init__(self, directory: Path, *, nodes: int = 1, overrides: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.overrides = overrides or {}
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.nodes: list[Node] = []
        self._count = nodes

    def bootstrap(self, listener: str = "plain") -> str:
        """The servers' addresses, for ``plain``, ``sasl`` or ``tls``."""
        host = "localhost" if listener == "tls" else "127.0.0.1"
        return ",".join(f"{host}:{node.ports[listener]}" for node in self.nodes)

    def __enter__(self) -> Self:
        java, classpath = find_java(), find_classpath()
        ports = iter(free_ports(4 * self._count))
        self.nodes = [
            Node(
                number,
                self.directory / f"node{number}",
                java,
                classpath,
                {name: next(ports) for name in ("plain", "controller", "sasl", "tls")},
            )
            for number in range(1, self._count + 1)
        ]
        try:
            for node in self.nodes:
                self._prepare(node)
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop()

    def start(self, node: Node) -> None:
        """Start a node's process; it is ready later."""
        node.start()

    def wait_until_ready(self, node: Node) -> None:
        """Return when the node serves; raise KafkaUnavailable with the end of its log when it does not."""
        node.wait_until_ready()

    def stop(self, node: Node) -> None:
        """Stop one node in an orderly way."""
        node.stop()

    def _prepare(self, node: Node) -> None:
        node.directory.mkdir(parents=True)
        node.configure({**self._settings(node), **self.overrides})
        users = (SUPER_USER, USER_WITHOUT_RIGHTS)
        scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in users]
        node.format(argument for user in scram for argument in ("--add-scram", user))

    def _settings(self, node: Node) -> dict[str, str]:
        names = {"plain": "PLAIN", "controller": "CONTROLLER", "sasl": "SASL", "tls": "TLS"}
        replicas = str(min(3, len(self.nodes)))
        plain_users = " ".join(f'user_{name}="{password}"' for name, password in (SUPER_USER, USER_WITHOUT_RIGHTS))
        modules = "org.apache.kafka.common.security"
        return {
            "process.roles": "broker,controller",
            "node.id": str(node.id),
            "controller.quorum.voters": ",".join(
                f"{each.id}@127.0.0.1:{each.ports['controller']}" for each in self.nodes
            ),
            "listeners": ",".join(f"{names[name]}://127.0.0.1:{port}" for name, port in node.ports.items()),
            "advertised.listeners": ",".join(
                f"{names[name]}://{'localhost' if name == 'tls' else '127.0.0.1'}:{port}"
                for name, port in node.ports.items()
                if name != "controller"
            ),
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",
            "inter.broker.listener.name": "PLAIN",
            "controller.listener.names": "CONTROLLER",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {plain_users};",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": str(self._keystore(node)),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{SUPER_USER[0]}",
            "num.partitions": "1",
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": str(min(2, len(self.nodes))),
            "min.insync.replicas": str(min(2, len(self.nodes))),
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.check.interval.ms": "1000",
            "log.segment.delete.delay.ms": "1000",
        }

    def _keystore(self, node: Node) -> Path:
        self.authority.cert_pem.write_to_path(self.ca_file)
        certificate = self.authority.issue_cert("localhost")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        path = node.directory / "server.pem"
        # Kafka reads PKCS #8 alone.
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        for link in certificate.cert_chain_pems:
            link.write_to_path(path, append=True)
        return path
