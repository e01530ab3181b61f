"""A new project: functions, their tests and what deploys them, each file a text with the project's name in it.

What says for a deployment which functions there are is made of them, as ``dispatch manifest`` makes it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from bindings.discovery import discover
from bindings.manifest import Manifest
from dispatcher.errors import ConfigurationError
from dispatcher.exports import sam

__all__ = ["NAME", "make_project"]

#: The narrowest of all that a project's name becomes a part of: names of distributions, images, consumer groups, AWS roles.
NAME: Final = re.compile(r"(?=.{3,40}$)[a-z](?:-?[a-z0-9])+")

# With their suffix the files are texts: no linter, no test run and no version control takes them for this project's own.
_SUFFIX: Final = ".txt"
_HIDDEN: Final = frozenset({"gitignore", "dockerignore"})


def make_project(name: str, parent: Path) -> Path:
    """Write a new project into the folder of its name, whole or not at all.

    Args:
        name: the project's, the app's and the folder's; it matches ``NAME``.
        parent: the folder that the new one stands in.

    Raises:
        ConfigurationError: the folder holds something already, or can't be written.
    """
    folder = parent / name
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise ConfigurationError(f"{folder} is there already, and is no folder")
        if folder.exists() and any(folder.iterdir()):
            raise ConfigurationError(f"{folder} holds something already: nothing of it is touched")
        # Beside it, so that it comes to its place by a rename.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=parent, ignore_cleanup_errors=True) as made:
            whole = Path(made, name)
            _write(files(__name__) / "project", whole, {"name": name, "version": version("dispatch-runtime")})
            manifest = _manifest(whole, name)
            (whole / "manifest.json").write_text(manifest.to_json() + "\n")
            (whole / "template.yaml").write_text(json.dumps(sam(manifest).document, indent=2) + "\n")
            whole.replace(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder} can't be made: {error.strerror or error}") from error
    return folder


def _write(source: Traversable, target: Path, values: dict[str, str]) -> None:
    target.mkdir()
    for each in source.iterdir():
        name = each.name.removesuffix(_SUFFIX)
        place = target / (f".{name}" if name in _HIDDEN else name)
        if each.is_dir():
            _write(each, place, values)
        else:
            place.write_text(re.sub("@@([a-z]+)@@", lambda found: values[found[1]], each.read_text()))


def _manifest(project: Path, name: str) -> Manifest:
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return Manifest.of(discover("functions", root=project), app=name)
    finally:
        sys.dont_write_bytecode = before
