"""The Kafka of a project folder: started once, found again by every later command."""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dispatcher.devkafka.runtime import KAFKA_VERSION, find_classpath, find_java
from dispatcher.devkafka.server import KafkaServer, free_ports, stop_process
from dispatcher.errors import KafkaUnavailable

__all__ = ["DevKafka", "Running"]

_DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started, as its pid file has it.

    Attributes:
        pid: its process.
        port: where clients connect, on 127.0.0.1.
        version: of Kafka.
    """

    pid: int
    port: int
    version: str

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same, as ``--broker`` takes it."""
        return f"kafka://{self.bootstrap}"


class DevKafka:
    """A single Kafka server on 127.0.0.1, with its data in one folder. No password, no TLS: for this machine alone.

    As a context manager it runs for as long as the block does.

    Args:
        directory: its folder; the data stays there from one start to the next.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self._pid_file = self.directory / "server.json"
        self._server: KafkaServer | None = None

    def running(self) -> Running | None:
        """The server that this folder's pid file names, when it is alive and is that server; else None."""
        try:
            found = Running(**json.loads(self._pid_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        # Process ids are used again: after a crash or a reboot another program may have this one.
        return found if str(self.directory / "server.properties") in _command_of(found.pid) else None

    def up(self, port: int | None = None, *, detached: bool = True) -> Running:
        """Start the server, unless it runs, and wait until it serves.

        Args:
            port: for clients; by default 9092, or another one when that is taken.
            detached: it outlives this process.

        Raises:
            KafkaUnavailable: it can't be had here, or did not start; or it runs on another port.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if (there := self.running()) is not None:
                if port not in (None, there.port):
                    raise KafkaUnavailable(f"it runs already, on port {there.port}: stop it first")
                return there
            server = KafkaServer(self.directory, find_java(), find_classpath())
            chosen, controller = self._ports(port)
            server.configure(_settings(chosen, controller))
            server.format()
            started = Running(server.start(detached=detached), chosen, KAFKA_VERSION)
            # Before it is ready: should this process be killed while it waits, the next one finds the server.
            self._pid_file.write_text(json.dumps(asdict(started)))
            try:
                server.wait_until_ready()
            except BaseException:
                server.stop()
                self._pid_file.unlink()
                raise
            self._server = server
            return started

    def down(self) -> Running | None:
        """Stop the server that :meth:`up` started; None when there was none to stop. The data stays."""
        if not self.directory.exists():
            return None
        with self._locked():
            there = self.running()
            if self._server is not None:
                # A child of ours: waited for, it leaves no zombie.
                self._server.stop()
                self._server = None
            elif there is not None:
                stop_process(there.pid)
            self._pid_file.unlink(missing_ok=True)
            return there

    def __enter__(self) -> Self:
        self.up(free_ports(1)[0], detached=False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.down()

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the running server.

        Raises:
            KafkaUnavailable: it does not run.
        """
        there = self.running()
        if there is None:
            raise KafkaUnavailable(f"no Kafka runs in {self.directory}")
        return there.bootstrap

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Two commands at once would start two servers on the same data.
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _ports(port: int | None) -> tuple[int, int]:
        if port is not None and not _is_free(port):
            raise KafkaUnavailable(f"port {port} of 127.0.0.1 is taken; leave --port out to have a free one chosen")
        chosen, controller = free_ports(2)
        if port is None and _is_free(_DEFAULT_PORT):
            port = _DEFAULT_PORT
        return (chosen if port is None else port), controller


def _settings(port: int, controller: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAIN://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAIN",
        "controller.listener.names": "CONTROLLER",
        # Streams are made on purpose here, as on a cluster that others look after.
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: a port that only lingers after its last server is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _command_of(pid: int) -> str:
    """A live process's command line; empty when there is no such process."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    try:
        ps = ["ps", "-ww", "-p", str(pid), "-o", "command="]
        shown = subprocess.run(ps, capture_output=True, text=True, check=False)  # noqa: S603 - a number is all that is given
    except OSError:
        return ""
    return shown.stdout
