"""Where settings may be said, and where one was."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dispatcher.errors import ConfigurationError

__all__ = ["FILE_NAME", "PREFIX", "Origin", "find_file"]

FILE_NAME = "dispatch.toml"
PREFIX = "DISPATCH_"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Attributes:
        kind: of the source; ``code`` is a function's decorator.
        place: ``dispatch.toml:12``, a variable, a flag, a function's place; empty for a default.
    """

    kind: Literal["default", "code", "file", "environment", "flag"]
    place: str = ""

    def __str__(self) -> str:
        return {"environment": f"environment {self.place}", "flag": f"flag {self.place}"}.get(
            self.kind, self.place or self.kind
        )


def find_file(folder: Path) -> Path | None:
    """The nearest ``dispatch.toml``, or ``pyproject.toml`` with a ``[tool.dispatch]``, up to the repository's root.

    Outside of a repository only ``folder`` itself is looked at: what lies in a home folder is not meant for all below it.

    Raises:
        ConfigurationError: one folder has both.
    """
    parents = [folder, *folder.parents]
    root = next((index for index, each in enumerate(parents) if (each / ".git").exists()), 0)
    for each in parents[: root + 1]:
        own, project = each / FILE_NAME, each / "pyproject.toml"
        has_table = project.is_file() and _has_table(project)
        if own.is_file() and has_table:
            raise ConfigurationError(f"{own} and [tool.dispatch] in {project} both hold settings: keep one of them")
        if own.is_file() or has_table:
            return own if own.is_file() else project
    return None


def _has_table(project: Path) -> bool:
    try:
        text = project.read_text(encoding="utf-8")
        return "dispatch" in text and "dispatch" in tomllib.loads(text).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False  # somebody else's file, and no matter of ours
