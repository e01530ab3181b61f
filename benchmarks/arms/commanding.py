"""The command ``dispatch`` itself, in processes and folders of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["DISPATCH", "app_folder", "running", "until"]

#: As it is installed beside the interpreter: what a person runs.
DISPATCH = str(Path(sys.executable).with_name("dispatch"))


@contextlib.contextmanager
def app_folder(code: str) -> Iterator[Path]:
    """A folder with an ``app.py``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "app.py").write_text(code, encoding="utf-8")
        yield folder


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``dispatch`` with these words, in the folder; at the end it is asked to drain, and waited for."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCH_")}
    with (folder / "dispatch.log").open("ab") as said:
        process = subprocess.Popen(
            [DISPATCH, *words], cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(condition: Callable[[], object], what: str, *, patience: float, every: float, folder: Path) -> None:
    """Look again and again until the condition holds.

    Raises:
        RuntimeError: it did not; with what the process has said.
    """
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            said = (folder / "dispatch.log").read_text(errors="replace") if (folder / "dispatch.log").exists() else ""
            raise RuntimeError(f"waited {patience:g} s in vain for {what}\n{said[-3_000:]}")
        time.sleep(every)
