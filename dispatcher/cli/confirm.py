"""Commands that change what can't be changed back: they say what they would do, ask, and leave a line behind."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.cli.output import fail, talk

__all__ = ["AUDIT_FILE", "audit", "confirm", "confirm_options", "who"]

F = TypeVar("F", bound=Callable[..., Any])

#: In the dispatcher's own folder: a JSON object a line, what was done by whom.
AUDIT_FILE = "audit.jsonl"


def confirm_options(command: F) -> F:
    """``--yes`` and ``--no-input``; the command takes ``yes`` and ``no_input``, for :func:`confirm`."""
    yes = click.option("--yes", "-y", is_flag=True, help="Do it, and do not ask.")
    no_input = click.option("--no-input", is_flag=True, help="Never ask: without --yes, do nothing and exit 2.")
    return yes(no_input(command))


def confirm(question: str, *, yes: bool, no_input: bool) -> None:
    """Ask, on stderr, unless told not to.

    Raises:
        SystemExit: 2, there is nobody to ask; 1, the answer is no.
    """
    if yes:
        return
    if no_input or not sys.stdin.isatty():
        fail("nothing was done: this asks first, and there is nobody to ask; --yes says yes to it")
        raise SystemExit(2)
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        agreed = False
        talk("")
    if not agreed:
        talk("nothing was done")
        raise SystemExit(1)


def audit(folder: Path, action: str, facts: Mapping[str, Any]) -> None:
    """Add a line to the audit file, and say it: who did what, when, to which offsets."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    entry = {"time": now, "user": _user(), "host": socket.gethostname(), "action": action, **facts}
    path = folder / AUDIT_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(entry, default=str) + "\n")
    except OSError as error:
        talk(f"audit: {json.dumps(entry, default=str)} (not kept: {path}: {error.strerror})", style="yellow")
        return
    talk(f"audit: {entry['action']} by {entry['user']} at {now}, in {path}")


def who() -> str:
    """``user@host``, of this process."""
    return f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return "unknown"
