"""Terraform blocks against the schema of Google's provider: unknown and missing arguments, nested and ``dynamic`` ones too.

The provider itself can't be had everywhere, and none of its commands runs without it. Its schema is in the typings of the npm
package ``@cdktf/provider-google``, which are made from it: 16.12.1 is of provider 6.50.0.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hcl2

__all__ = ["Schema", "faults", "missing"]

_KEPT = Path(__file__).parent.parent.parent / "build" / "npm"
_PACKAGE, _FILE = "@cdktf/provider-google@16.12.1", "cdktf-provider-google-16.12.1.tgz"
_CHECKSUM = "KqNA/5RiFT07r0PSZ6/07cJ2zESUgbj1JchVj21iBFBZVUbD+578xA/k8eq/r0cbyEgLmg9eYWeVslaYah4DCQ=="
_INTERFACE = re.compile(r"^export interface (\w+)(?: extends [^{]+)? \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^    readonly (\w+)(\??): ([^\n]+)", re.MULTILINE)
#: What every block may have, whatever the provider says.
_META = {"count", "for_each", "depends_on", "provider", "lifecycle"}


class Argument(NamedTuple):
    """One argument: an attribute, or a block when it names an interface."""

    is_required: bool
    block: str | None


def missing() -> str | None:
    """What is lacking on this machine, or None."""
    if not (_KEPT / _FILE).exists() and shutil.which("npm") is None:
        return "there is no npm, from whose registry the schema of Google's provider comes"
    return None


class Schema:
    """The arguments of these resources, read from the package, which has 1,500."""

    def __init__(self, resources: Collection[str]) -> None:
        if not (_KEPT / _FILE).exists():
            _KEPT.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["npm", "pack", "--silent", _PACKAGE], cwd=_KEPT, check=True, capture_output=True, timeout=300
            )
        packed = _KEPT / _FILE
        assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == _CHECKSUM
        self._interfaces: dict[str, dict[str, Argument]] = {}
        self._resources: dict[str, str] = {}
        places = {f"package/lib/{each.removeprefix('google_').replace('_', '-')}/index.d.ts" for each in resources}
        with tarfile.open(packed) as archive:
            for member in archive:
                if member.name in places:
                    found = archive.extractfile(member)
                    assert found is not None
                    self._packed(found.read().decode())

    def _packed(self, text: str) -> None:
        named = re.search(r'tfResourceType = "(\w+)"', text)
        config = re.search(r"export interface (\w+Config) extends cdktf.TerraformMetaArguments", text)
        if named and config:
            self._resources[named[1]] = config[1]
            self._interfaces |= {name: dict(_arguments(body)) for name, body in _INTERFACE.findall(text)}

    def arguments(self, resource: str) -> dict[str, Argument] | None:
        """Of a resource; None where there is no such one."""
        config = self._resources.get(resource)
        return None if config is None else self._interfaces[config]

    def block(self, name: str) -> dict[str, Argument]:
        """Of a nested block."""
        return self._interfaces[name]

    def has_block(self, name: str) -> bool:
        """Whether it is one, and no plain type."""
        return name in self._interfaces


def _arguments(body: str) -> Iterator[tuple[str, Argument]]:
    for name, optional, kind in _FIELD.findall(body):
        snake = re.sub(r"([A-Z])", lambda letter: f"_{letter[1].lower()}", name)
        nested = re.match(r"([A-Z]\w+)(?:\[\])?(?: \| cdktf\.IResolvable)?;", kind)
        yield snake, Argument(not optional, nested[1] if nested else None)


def faults(schema: Schema, text: str, place: str = "main.tf") -> list[str]:
    """What is wrong in a file's google_* resources, one line each."""
    found = []
    for group in hcl2.loads(text).get("resource", []):
        for quoted, named in group.items():
            kind = quoted.strip('"')
            if not kind.startswith("google_"):
                continue
            arguments = schema.arguments(kind)
            for name, body in named.items():
                where = f"{place}: {kind}.{name.strip(chr(34))}"
                if arguments is None:
                    found.append(f"{where}: there is no such resource")
                elif isinstance(body, dict):
                    found += _of_block(schema, arguments, body, where, outermost=True)
    return found


def _of_block(
    schema: Schema, arguments: dict[str, Argument], body: dict[str, Any], where: str, *, outermost: bool = False
) -> Iterator[str]:
    given: dict[str, list[Any]] = {name: value if _is_block(value) else [value] for name, value in _plain(body)}
    for each in body.get("dynamic", []):
        for quoted, dynamic in each.items():
            if not quoted.startswith("__"):
                given.setdefault(quoted.strip('"'), []).extend(dynamic["content"])
    for name, values in given.items():
        if outermost and name in _META:
            continue
        argument = arguments.get(name)
        if argument is None or (outermost and name == "id"):
            yield f"{where}: no argument {name}"
            continue
        blocks = [value for value in values if isinstance(value, dict) and value.get("__is_block__")]
        is_block = argument.block is not None and schema.has_block(argument.block)
        if is_block != (len(blocks) == len(values)):
            yield f"{where}: {name} is {'a block' if is_block else 'an argument'}"
            continue
        for value in blocks:
            assert argument.block is not None
            yield from _of_block(schema, schema.block(argument.block), value, f"{where}.{name}")
    for name, argument in arguments.items():
        if argument.is_required and name not in given:
            yield f"{where}: {name} is missing"


def _plain(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in body.items() if not name.startswith("__") and name != "dynamic")


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict) and each.get("__is_block__") for each in value)
