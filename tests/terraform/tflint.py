"""tflint, which Go builds from its source: no registry but Go's has it. It is kept in ``build/``.

Run as a program it builds: that takes minutes, so CI begins it in the background before the tests, and the test waits for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["build", "find"]

_MODULE, _VERSION = "github.com/terraform-linters/tflint", "v0.64.0"
_CHECKSUM = "h1:v0KwryBjBeo79uqFrYQOllZk3l/nQvH/e4SZW45jhA8="
_KEPT = Path(__file__).parent.parent.parent / "build" / "tflint" / f"tflint_{_VERSION}"


def find() -> str | None:
    """Where it is on this machine: this version, or the one that is installed."""
    return str(_KEPT) if _KEPT.exists() else shutil.which("tflint")


def build() -> str:
    """Where it is: built if it is not there, which takes Go four minutes of a processor; whoever builds it already is waited for.

    Raises:
        RuntimeError: it can't be built; with what Go said last.
    """
    folder = _KEPT.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _KEPT.exists():
            _build(folder)
    return str(_KEPT)


def _build(folder: Path) -> None:
    if shutil.which("go") is None:
        raise RuntimeError("tflint can't be built: there is no go")
    found = json.loads(_go("mod", "download", "-json", f"{_MODULE}@{_VERSION}", cwd=folder))
    if found["Sum"] != _CHECKSUM:
        raise RuntimeError("tflint's source is not what it was")
    part = _KEPT.with_suffix(".part")
    # Where its source lies, so that its own go.sum says what everything else must be. Not optimised: it runs for a second.
    _go("build", "-trimpath", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", str(part), ".", cwd=Path(found["Dir"]))
    part.replace(_KEPT)


def _go(*arguments: str, cwd: Path) -> str:
    environment = os.environ | {"CGO_ENABLED": "0"}
    done = subprocess.run(["go", *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"tflint can't be built: go {arguments[0]}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        build()
    except RuntimeError as error:
        sys.exit(str(error))
