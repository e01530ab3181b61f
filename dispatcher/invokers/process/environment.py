"""What a function's process sees of the dispatcher's environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

__all__ = ["ALLOWED", "environment_of", "import_path"]

#: Variables that programs need to find files and speak a language. None of them is a place for secrets.
ALLOWED = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TEMP", "TMP", "TMPDIR", "TZ"}
    | {"USER", "VIRTUAL_ENV", "SSL_CERT_DIR", "SSL_CERT_FILE"}
)
_PREFIX = "LC_"


def environment_of(source: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Pick the variables that a function may see: the harmless ones, and those named for it."""
    wanted = {*ALLOWED, *names}
    return {name: value for name, value in source.items() if name in wanted or name.startswith(_PREFIX)}


def import_path(path: Iterable[str]) -> list[str]:
    """Make ``sys.path`` mean the same in a process that begins elsewhere."""
    return list(dict.fromkeys(os.path.abspath(entry or ".") for entry in path))  # noqa: PTH100 - no link is resolved
