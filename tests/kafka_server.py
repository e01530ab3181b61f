"""A real Apache Kafka for tests: the development one, with the listeners and the users that only tests need.

KRaft, combined mode, on free ports of 127.0.0.1. Each node has five listeners for clients: ``plain``, ``sasl``
(SASL_PLAINTEXT with PLAIN and SCRAM-SHA-512), ``tls`` (a certificate for ``localhost`` alone), ``mtls`` (it asks for the
client's certificate too; the user is the certificate's name) and ``sasl_tls`` (SASL_SSL with every mechanism; OAUTHBEARER
takes unsecured JWTs, whose ``sub`` is the user). A cluster behind proxies has one more, ``proxied``: PLAINTEXT, and the
address that clients are told is the proxy's.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import trustme
from cryptography.hazmat.primitives import serialization

from dispatcher.devkafka import KafkaServer, KafkaUnavailable, find_classpath, find_java, free_ports
from dispatcher.devkafka.server import START_TIMEOUT

__all__ = ["SUPER_USER", "USER_WITHOUT_RIGHTS", "WORKER", "KafkaCluster", "KafkaUnavailable", "Node", "free_ports"]

SUPER_USER = ("app", "app-secret")
USER_WITHOUT_RIGHTS = ("guest", "guest-secret")
#: Has the rights that a test gives it.
WORKER = ("worker", "worker-secret")
_USERS = (SUPER_USER, USER_WITHOUT_RIGHTS, WORKER)
_LISTENERS = {
    "plain": "PLAINTEXT",
    "controller": "PLAINTEXT",
    "sasl": "SASL_PLAINTEXT",
    "tls": "SSL",
    "mtls": "SSL",
    "sasl_tls": "SASL_SSL",
}
_PROXIED = "proxied"
#: Those with a certificate, which is for localhost.
_WITH_TLS = ("tls", "mtls", "sasl_tls")


class Node(KafkaServer):
    """One server process: broker and controller."""

    def __init__(
        self,
        number: int,
        directory: Path,
        java: str,
        classpath: str,
        ports: dict[str, int],
        proxy_port: int | None = None,
    ) -> None:
        super().__init__(directory, java, classpath)
        # A test's server lives for minutes: what the second compiler makes better comes too late, and takes its time.
        self._jvm.insert(1, "-XX:TieredStopAtLevel=1")
        self.id = number
        self.ports = ports
        #: What clients of each listener are told.
        self.advertised = {**ports, _PROXIED: proxy_port} if proxy_port is not None else ports

    def partition_directory(self, topic: str, partition: int) -> Path:
        """Where the segments of a partition are."""
        return self.data / f"{topic}-{partition}"

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, or stands frozen."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: its ports take connections and answer nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)


class KafkaCluster:
    """A cluster of ``nodes`` servers in ``directory``. A context manager; the directory stays, with the logs.

    Args:
        directory: for a folder of each server.
        nodes: how many; three replicate everything three times, and two must have what is acknowledged.
        overrides: settings of the servers.
        proxy_ports: one a server: makes the listener ``proxied``, which tells clients to come by these ports.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 1,
        overrides: dict[str, str] | None = None,
        proxy_ports: Sequence[int] = (),
    ) -> None:
        self.directory = directory
        self.overrides = overrides or {}
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.nodes: list[Node] = []
        self._count = nodes
        self._proxy_ports = tuple(proxy_ports)
        self._listeners = {**_LISTENERS, **({_PROXIED: "PLAINTEXT"} if proxy_ports else {})}

    def bootstrap(self, listener: str = "plain") -> str:
        """The servers' addresses, for one of the listeners."""
        host = "localhost" if listener in _WITH_TLS else "127.0.0.1"
        return ",".join(f"{host}:{node.advertised[listener]}" for node in self.nodes)

    def __enter__(self) -> Self:
        java, classpath = find_java(), find_classpath()
        ports = iter(free_ports(len(self._listeners) * self._count))
        self.nodes = [
            Node(
                number,
                self.directory / f"node{number}",
                java,
                classpath,
                {name: next(ports) for name in self._listeners},
                self._proxy_ports[number - 1] if self._proxy_ports else None,
            )
            for number in range(1, self._count + 1)
        ]
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._prepare, self.nodes))
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                # They share the processors.
                node.wait_until_ready(START_TIMEOUT * len(self.nodes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            node.thaw()
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
        scram = [
            f"SCRAM-SHA-{size}=[name={name},password={password}]" for size in (256, 512) for name, password in _USERS
        ]
        node.format(argument for user in scram for argument in ("--add-scram", user))

    def _settings(self, node: Node) -> dict[str, str]:
        replicas = str(min(3, len(self.nodes)))
        plain_users = " ".join(f'user_{name}="{password}"' for name, password in _USERS)
        modules = "org.apache.kafka.common.security"
        keystore = str(self._keystore(node))
        return {
            "process.roles": "broker,controller",
            "node.id": str(node.id),
            "controller.quorum.voters": ",".join(
                f"{each.id}@127.0.0.1:{each.ports['controller']}" for each in self.nodes
            ),
            "listeners": ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in node.ports.items()),
            "advertised.listeners": ",".join(
                f"{name.upper()}://{'localhost' if name in _WITH_TLS else '127.0.0.1'}:{port}"
                for name, port in node.advertised.items()
                if name != "controller"
            ),
            "listener.security.protocol.map": ",".join(
                f"{name.upper()}:{protocol}" for name, protocol in self._listeners.items()
            ),
            "inter.broker.listener.name": "PLAIN",
            "controller.listener.names": "CONTROLLER",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_tls.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.sasl_tls.oauthbearer.sasl.jaas.config": (
                f"{modules}.oauthbearer.OAuthBearerLoginModule required;"
            ),
            **{
                f"listener.name.{listener}.{mechanism}.sasl.jaas.config": f"{modules}.{module};"
                for listener in ("sasl", "sasl_tls")
                for mechanism, module in (
                    ("plain", f"plain.PlainLoginModule required {plain_users}"),
                    ("scram-sha-256", "scram.ScramLoginModule required"),
                    ("scram-sha-512", "scram.ScramLoginModule required"),
                )
            },
            **{f"listener.name.{name}.ssl.keystore.type": "PEM" for name in _WITH_TLS},
            **{f"listener.name.{name}.ssl.keystore.location": keystore for name in _WITH_TLS},
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.mtls.ssl.truststore.type": "PEM",
            "listener.name.mtls.ssl.truststore.location": str(self.ca_file),
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
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
            # So that a test need not wait 6 s, the broker's own minimum, for a member to be taken for dead.
            "group.min.session.timeout.ms": "1000",
            "log.retention.check.interval.ms": "1000",
            "log.cleaner.backoff.ms": "500",
            "log.segment.delete.delay.ms": "1000",
        }

    def client_certificate(self, user: str, folder: Path) -> tuple[Path, Path]:
        """A certificate and its key for a user, from the authority that ``mtls`` trusts."""
        issued = self.authority.issue_cert(f"{user}.example", common_name=user)
        certificate, key = folder / f"{user}.pem", folder / f"{user}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

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
