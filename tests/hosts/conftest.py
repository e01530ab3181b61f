"""Real servers for the hosts: uvicorn and the Functions Framework, in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

_HERE = Path(__file__).parent
Serve = Callable[..., str]


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def uvicorn(application: str, port: int) -> list[str]:
    """The command that serves an ASGI application."""
    return [
        sys.executable,
        "-m",
        "uvicorn",
        application,
        "--port",
        str(port),
        "--log-level",
        "warning",
        "--no-access-log",
    ]


def functions_framework(function: str, port: int, kind: str) -> list[str]:
    """The command that serves a function of ``hosted.py`` under the Functions Framework."""
    return [
        *(sys.executable, "-m", "functions_framework", "--source", str(_HERE / "hosted.py"), "--target", function),
        *("--signature-type", kind, "--host", "127.0.0.1", "--port", str(port)),
    ]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts a host and returns its URL: ``serve("asgi", "application")``, ``serve("http", "main")``, ``serve("cloudevent", ...)``."""
    running: dict[tuple[str, str], tuple[str, subprocess.Popen[bytes]]] = {}
    logs = tmp_path_factory.mktemp("hosts")

    def start(kind: str, name: str) -> str:
        if (kind, name) in running:
            return running[kind, name][0]
        port = free_port()
        command = uvicorn(f"hosted:{name}", port) if kind == "asgi" else functions_framework(name, port, kind)
        path = os.pathsep.join([str(_HERE), str(_HERE.parent / "invokers"), str(_HERE.parents[1])])
        log = logs / f"{kind}-{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=said, stderr=said)
        url = f"http://127.0.0.1:{port}"
        running[kind, name] = url, process
        give_up = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}/livez", timeout=5)
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.05)
            else:
                return url

    yield start
    for _, process in running.values():
        process.terminate()
    for _, process in running.values():
        process.wait(20)
