"""Where and with what a figure was measured: nobody can judge it without."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["installed", "machine"]

ROOT = Path(__file__).parent.parent


_FIND = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@functools.cache
def installed(python: str, packages: tuple[str, ...]) -> Mapping[str, str]:
    """The versions of those of these distributions that an interpreter has; none where there is no such interpreter."""
    try:
        done = subprocess.run([python, "-c", _FIND, *packages], capture_output=True, text=True, check=True)
    except OSError:
        return {}
    found: dict[str, str] = json.loads(done.stdout)
    return found


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """The machine, the versions of Dispatch, Python and these packages, the day and the commit."""
    found = installed(sys.executable, ("dispatch-runtime", *packages))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "bindings", "dispatcher")),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"Dispatch": found["dispatch-runtime"], "Python": platform.python_version()}
        | {name: found[name] for name in packages},
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S607
    except OSError:
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
