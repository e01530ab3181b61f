"""A working folder of its own for each test, with nothing in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import bytecode, dispatch

__all__ = ["bytecode", "dispatch"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of this process; the command has one of its own."""
    for name in list(os.environ):
        if name.startswith("DISPATCH_"):
            monkeypatch.delenv(name)
    place = tmp_path / "here" / "shop"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    """Writes a file of the working folder, ``dispatch.toml`` unless another is named."""

    def write(text: str, name: str = "dispatch.toml") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
