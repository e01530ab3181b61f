"""The hosts' real servers in processes of their own: uvicorn and the Functions Framework, serving ``hosts/hosted.py``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

__all__ = ["PYTHON_PATH", "HostServers", "free_port"]

_TESTS = Path(__file__).parent
#: Where the hosted functions and the project are.
PYTHON_PATH = os.pathsep.join(map(str, [_TESTS / "hosts", _TESTS / "invokers", _TESTS.parent]))


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


class HostServers:
    """Servers, each started once. A context manager: at its end none runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[tuple[str, str], tuple[str, subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for _, process in self._running.values():
            process.terminate()
        for _, process in self._running.values():
            process.wait(20)

    def start(self, kind: str, name: str) -> str:
        """Serve a name of ``hosted.py`` and return the URL, once it answers.

        Args:
            kind: ``asgi``, or the signature type of the Functions Framework: ``http``, ``cloudevent``.
            name: the application's, or the function's.
        """
        if (kind, name) in self._running:
            return self._running[kind, name][0]
        port = free_port()
        if kind == "asgi":
            command = [sys.executable, "-m", "uvicorn", f"hosted:{name}", "--port", str(port), "--log-level", "warning"]
        else:
            command = [
                *(sys.executable, "-m", "functions_framework", "--source", str(_TESTS / "hosts" / "hosted.py")),
                *("--target", name, "--signature-type", kind, "--host", "127.0.0.1", "--port", str(port)),
            ]
        log = self._folder / f"{kind}-{name}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PYTHON_PATH}, stdout=said, stderr=said)
        url = f"http://127.0.0.1:{port}"
        self._running[kind, name] = url, process
        give_up = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.05)
            else:
                return url
