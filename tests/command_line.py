"""The real command in a folder of its own, on a real embedded log: for every test that types commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Running:
    """A command that runs, with what it has said so far on stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.append(line)

    @property
    def stderr(self) -> str:
        return "".join(self._lines)

    def said(self, pattern: str) -> bool:
        return re.search(pattern, self.stderr) is not None

    def until(self, true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Wait for something that has to come; fail with what was said when it does not."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"{what} did not come; it said:\n{self.stderr}"
            assert self.process.poll() is None or true(), f"ended before {what}; it said:\n{self.stderr}"
            time.sleep(0.01)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 20.0) -> Done:
        """Wait for the end of it."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        assert self.process.stdout
        return Done(code, self.process.stdout.read(), self.stderr)


class Dispatch:
    """The command ``dispatch``, typed in one folder."""

    def __init__(self, folder: Path, bytecode: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if name
            not in {
                "FORCE_COLOR",
                "NO_COLOR",
                "CLICOLOR_FORCE",
                "DISPATCH_BROKER",
                "COLUMNS",
                "PYTHONDONTWRITEBYTECODE",
            }
        } | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
        self._running: list[Running] = []

    def __call__(self, *words: str, stdin: str | bytes = b"", **environ: str) -> Done:
        """Run it to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "dispatcher", *words],
            cwd=self.folder,
            env=self.environ | environ,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *words: str) -> Running:
        """Have it run."""
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            cwd=self.folder,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running = Running(process)
        self._running.append(running)
        return running

    def write(self, name: str, text: str) -> Path:
        """Put a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def close(self) -> None:
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
            running.end()
            for pipe in (running.process.stdout, running.process.stderr):
                assert pipe
                pipe.close()


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands keep what they compile: each start is twice as fast, and the checkout stays clean."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def dispatch(tmp_path: Path, bytecode: Path) -> Iterator[Dispatch]:
    """The command, in an empty folder named ``shop``."""
    folder = tmp_path / "shop"
    folder.mkdir()
    command = Dispatch(folder, bytecode)
    yield command
    command.close()
