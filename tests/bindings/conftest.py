"""Fixtures of the bindings' tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Project = Callable[[dict[str, str]], Path]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Write the files of a user's project; what is imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        module = sys.modules[name]
        if str(tmp_path) in f"{getattr(module, '__file__', None)} {getattr(module, '__path__', None)}":
            del sys.modules[name]
