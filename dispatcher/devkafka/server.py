"""One Kafka server process, in KRaft mode."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dispatcher.errors import KafkaUnavailable

__all__ = ["KafkaServer", "free_ports", "stop_process"]

START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0
# 22 characters of base64url; a leading dash would be read as an option.
_CLUSTER_ID = "dispatchTestCluster_aQ"


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class KafkaServer:
    """A server, broker and controller in one, with all that is its own in one folder.

    Args:
        directory: for ``server.properties``, ``server.log`` and ``data``; made when missing.
        java: see :func:`dispatcher.devkafka.runtime.find_java`.
        classpath: see :func:`dispatcher.devkafka.runtime.find_classpath`.
    """

    def __init__(self, directory: Path, java: str, classpath: str) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._jvm = [
            java,
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Xlog:disable",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
            *("-cp", classpath),
        ]
        self._log_begins = 0

    @property
    def properties(self) -> Path:
        """The server's settings."""
        return self.directory / "server.properties"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.directory / "server.log"

    @property
    def data(self) -> Path:
        """Where the records are."""
        return self.directory / "data"

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write the settings; ``log.dirs`` is the server's own."""
        self.directory.mkdir(parents=True, exist_ok=True)
        every = {**settings, "log.dirs": str(self.data)}
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in every.items()))

    def format(self, options: Iterable[str] = ()) -> None:
        """Prepare the data folder, once.

        Args:
            options: more of Kafka's ``StorageTool format``, such as ``--add-scram``.

        Raises:
            KafkaUnavailable: Kafka said no; its words are in the message.
        """
        if (self.data / "meta.properties").exists():
            return
        done = subprocess.run(  # noqa: S603 - Kafka's own tool
            [
                *(*self._jvm, "kafka.tools.StorageTool", "format"),
                *("-t", _CLUSTER_ID, "-c", str(self.properties), *options),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaUnavailable(f"Kafka's storage can't be formatted: {done.stdout}{done.stderr}")

    def start(self, *, detached: bool = False) -> int:
        """Start the process and return its id; it is ready later. A detached one outlives this process and its terminal."""
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self.process = subprocess.Popen(  # noqa: S603 - Kafka itself
                [*self._jvm, "kafka.Kafka", str(self.properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=detached,
            )
        return self.process.pid

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Return when the server serves.

        Raises:
            KafkaUnavailable: it ended, or took longer than so many seconds; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            if b"Kafka Server started" in self._said():
                return
            time.sleep(0.05)
        raise KafkaUnavailable(f"Kafka did not start; its log, {self.log}, ends with:\n{self.tail()}")

    def _said(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read()

    def tail(self, lines: int = 30) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def terminate(self) -> None:
        """Ask the process to end; :meth:`stop` waits for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """Stop the process in an orderly way, and after 20 s in another."""
        if self.process is None:
            return
        self.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def stop_process(pid: int) -> None:
    """Stop a process that is nobody's child here: in an orderly way, and after 20 s in another."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            deadline = time.monotonic() + _STOP_TIMEOUT
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.05)
            continue
        return
