"""The live report on a pseudo-terminal, and what is left of it on lesser ones."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCSWINSZ
from typing import Any

APP = """
import asyncio
from bindings import on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    print("a function may print")
    await asyncio.sleep(0.05)
    if order == {"bad": 1}:
        raise ValueError("\\x1b[2Jbad")
"""


class Terminal:
    """A command whose stderr is a terminal of 100 columns, and what it has drawn."""

    def __init__(self, dispatch: Any, *words: str, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            cwd=dispatch.folder,
            env=dispatch.environ | {"TERM": "xterm-256color"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.drawn = ""

    def read_until(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.drawn
            self._read()

    def end(self) -> tuple[int, str]:
        """The exit code and stdout."""
        self.read_until(lambda: self.process.poll() is not None)
        self._read()
        os.close(self._ours)
        assert self.process.stdout
        with self.process.stdout as stdout:
            return self.process.returncode, stdout.read().decode()

    def _read(self) -> None:
        # The other side has closed (EIO), or has nothing to say yet.
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65_536):
                self.drawn += data.decode()
        time.sleep(0.01)


def run(dispatch: Any, **environ: str) -> Terminal:
    """The app, on some orders, one of which fails."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", "--partitions", "1", stdin='{"bad": 0}\n' * 60)
    return Terminal(dispatch, "run", "app.py", **environ)


def test_a_terminal_shows_a_table_that_moves_and_a_summary_at_the_end(dispatch: Any) -> None:
    """The table has a line for the function and is redrawn in its place; Ctrl-C ends it with the summary."""
    terminal = run(dispatch)
    terminal.read_until(lambda: re.search(r"handle .*running", terminal.drawn) is not None)
    assert "dead letters" in terminal.drawn
    assert "embedded:.dispatch/log.db" in terminal.drawn
    terminal.read_until(lambda: terminal.drawn.count("\x1b[1A") >= 3)
    terminal.process.send_signal(signal.SIGINT)
    code, stdout = terminal.end()
    assert code == 130
    assert "= done" in terminal.drawn
    assert "ran for" in terminal.drawn
    # The cursor was hidden for the table, and is given back.
    assert terminal.drawn.rfind("\x1b[?25h") > terminal.drawn.rfind("\x1b[?25l")
    # What functions print stays on stdout, where it was sent, and out of the table.
    assert set(stdout.split("\n")) == {"a function may print", ""}


def test_no_color_takes_the_colours_and_leaves_the_table(dispatch: Any) -> None:
    """NO_COLOR is obeyed (https://no-color.org): no colour is set, by whatever code."""
    terminal = run(dispatch, NO_COLOR="1")
    terminal.read_until(lambda: re.search(r"handle .*running", terminal.drawn) is not None)
    terminal.process.send_signal(signal.SIGINT)
    terminal.end()
    codes = {code for match in re.findall(r"\x1b\[([\d;]*)m", terminal.drawn) for code in match.split(";")}
    assert not {code for code in codes if code.isdigit() and 30 <= int(code) <= 107}


def test_a_dumb_terminal_gets_plain_lines(dispatch: Any) -> None:
    """Without cursor movement there is no table: no escape at all is sent."""
    terminal = run(dispatch, TERM="dumb")
    terminal.read_until(lambda: "handle: running" in terminal.drawn)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end()[0] == 130
    assert "\x1b" not in terminal.drawn
    assert "= done" in terminal.drawn


def test_force_color_does_not_animate_a_log_file(dispatch: Any) -> None:
    """CI systems set FORCE_COLOR: their logs still get lines, and no cursor movement."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", stdin='{"bad": 0}\n')
    done = dispatch("run", "app.py", "--until-caught-up", FORCE_COLOR="1")
    assert done.code == 0
    assert not re.search(r"\x1b\[[\d?;]*[A-LN-Za-ln-z]", done.stderr)


def test_an_error_message_from_a_function_moves_no_cursor(dispatch: Any) -> None:
    """The text of an exception is data from outside: in the log it is printable."""
    code = APP.replace("import on_stream", "import Retry, on_stream")
    dispatch.write("app.py", code.replace('"orders"', '"orders", retry=Retry(max_attempts=1)'))
    dispatch("send", "orders", "-", stdin='{"bad": 1}\n')
    done = dispatch("run", "app.py", "--until-caught-up")
    assert done.code == 1
    assert "\\x1b[2Jbad" in done.stderr
    assert "\x1b" not in done.stderr
