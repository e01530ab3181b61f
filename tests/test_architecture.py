"""The import direction of the house, read from the source of every module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

#: What each part of the dispatcher stands on: it imports its own part, and parts of a lower floor.
FLOORS = {
    "dispatcher.__main__": 9,
    "dispatcher.cli": 8,
    "dispatcher.monitoring": 6,
    "dispatcher.supervisor": 6,
    "dispatcher.shadow": 7,
    "dispatcher.replay": 6,
    "dispatcher.deadletters": 5,
    "dispatcher.server": 5,
    "dispatcher.testing": 5,
    "dispatcher.status": 5,
    "dispatcher.control": 4,
    "dispatcher.reading": 4,
    "dispatcher.times": 4,
    "dispatcher.worker": 4,
    "dispatcher.brokers": 3,
    "dispatcher.invokers": 3,
    "dispatcher.telemetry": 3,
    "dispatcher.filters": 3,
    "dispatcher.devkafka": 2,
    "dispatcher.core": 2,
    "dispatcher.config": 2,
    "dispatcher.exports": 2,
    "dispatcher.jsondiff": 1,
    "dispatcher.scaffold": 3,
    "dispatcher.structured": 1,
    "dispatcher.clock": 1,
    "dispatcher.errors": 1,
    "dispatcher": 0,
}
#: The core computes: whatever reads a clock, a file, a socket or an environment is not here.
CORE_STDLIB = frozenset(
    {"__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "dataclasses", "enum", "functools"}
    | {"heapq", "itertools", "json", "math", "operator", "random", "re", "struct", "types", "typing", "zlib"}
)
PROJECT = frozenset({"bindings", "dispatcher", "functions", "scripts", "tests", "benchmarks"})


class Import(NamedTuple):
    name: str
    line: int
    #: Within a function, so paid for only when it is called.
    lazy: bool


def imports_of(module: str, source: str, *, package: bool) -> Iterator[Import]:
    """Every import in ``source``; ``from a import b`` gives ``a.b``, whether b is a module or a name."""

    def walk(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parents = module.split(".")
                    parents = parents[: len(parents) - child.level + package]
                    base = ".".join([*parents, *([base] if base else [])])
                yield from (Import(f"{base}.{alias.name}", child.lineno, lazy) for alias in child.names)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, lazy=lazy or is_function)

    yield from walk(ast.parse(source), lazy=False)


def part_of(name: str) -> str:
    """The part of the dispatcher in which ``name`` lives: the longest entry of FLOORS that it begins with."""
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return name


def fault(module: str, found: Import) -> str | None:
    """Why ``module`` may not import that, or None."""
    root, own = found.name.partition(".")[0], module.partition(".")[0]
    outside = root not in PROJECT
    if own == "functions":
        allowed = {"functions", "bindings", "pydantic"}
        return None if root in allowed or root in sys.stdlib_module_names else "functions import bindings and pydantic"
    if own == "bindings":
        allowed = {"bindings", "pydantic", "pydantic_core"} | ({"msgspec"} if found.lazy else set())
        if module == "bindings.hosts.functions_framework" and found.lazy:
            allowed |= {"flask"}  # it runs inside the framework, which brings it
        return None if root in allowed or root in sys.stdlib_module_names else "bindings depends on pydantic alone"
    if not outside and root not in {"bindings", "dispatcher"}:
        return "the dispatcher reaches functions by name only"
    part = part_of(module)
    if root == "dispatcher":
        other = part_of(found.name)
        if other != part and FLOORS[other] >= FLOORS[part]:
            return f"{part} stands on what is below it, and {other} is not"
    elif part == "dispatcher.core" and outside and root not in CORE_STDLIB:
        return "the core does no I/O and reads no clock"
    return None


def faults(module: str, source: str, *, package: bool = False) -> list[str]:
    """The forbidden imports of a module, one line each."""
    return [
        f"{module}:{found.line} imports {found.name}: {why}"
        for found in imports_of(module, source, package=package)
        if (why := fault(module, found))
    ]


def modules() -> dict[str, Path]:
    """Each module of the three packages, by its dotted name."""
    found = {}
    for package in ("bindings", "dispatcher", "functions"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_every_import_goes_down() -> None:
    """No module of the project imports what stands above or beside it, and the core imports no I/O."""
    found = modules()
    assert {"bindings", "dispatcher.core.record", "functions.check_limit.function"} <= set(found)
    assert [
        line
        for module, path in found.items()
        for line in faults(module, path.read_text(), package=path.name == "__init__.py")
    ] == []


def test_every_part_has_a_floor() -> None:
    """A new part of the dispatcher is given its floor here, so that none escapes the rule."""
    assert [name for name in modules() if name.startswith("dispatcher.") and part_of(name) == "dispatcher"] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("functions.bad", "from dispatcher.errors import DispatchError"),
        ("functions.bad", "import requests"),
        ("bindings.bad", "import dispatcher.errors"),
        ("bindings.bad", "import msgspec"),
        ("bindings.bad", "def decode():\n    import httpx"),
        ("bindings.deep.bad", "from ...dispatcher import errors"),
        ("dispatcher.worker", "import functions.check_limit"),
        ("dispatcher.cli.bad", "from scripts import make_orders"),
        ("dispatcher.server", "from dispatcher import cli"),
        ("dispatcher.server", "from dispatcher.cli.run import main"),
        ("dispatcher.worker", "from . import server"),
        ("dispatcher.brokers.bad", "def lazily():\n    from dispatcher.worker import Worker"),
        ("dispatcher.brokers.bad", "from dispatcher.invokers.base import Invoker"),
        ("dispatcher.invokers.bad", "from ..brokers.base import Broker"),
        ("dispatcher.core.bad", "from dispatcher.telemetry.metrics import Counters"),
        ("dispatcher.core.bad", "import asyncio"),
        ("dispatcher.core.bad", "import logging"),
        ("dispatcher.core.bad", "def now():\n    from time import monotonic"),
        ("dispatcher.core.bad", "if True:\n    import aiokafka"),
        ("dispatcher.errors", "from dispatcher.core.record import Record"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str) -> None:
    """The control: a made-up module that breaks a rule is named, whatever way it imports."""
    [line] = faults(module, source)
    assert line.startswith(f"{module}:")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("functions.good", "import json\nfrom pydantic import BaseModel\nfrom bindings import on_stream"),
        ("bindings.good", "from pydantic import TypeAdapter\ndef decode():\n    import msgspec"),
        ("dispatcher.cli.good", "import click\nfrom dispatcher.server import Server\nfrom bindings import Retry"),
        ("dispatcher.worker", "from .core import record\nfrom dispatcher.brokers.base import Broker"),
        ("dispatcher.core.good", "from collections import deque\nfrom bindings.policies import Retry\nimport heapq"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    """The other control: the rule does not cry at what the house allows."""
    assert faults(module, source) == []
