"""An arm in Java: its jars come from Maven Central by their coordinates, and its one source file is compiled when it runs."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.devkafka import KafkaUnavailable, find_java

__all__ = ["JavaArm"]

_SOURCES = Path(__file__).parent / "java"


@dataclass(frozen=True)
class JavaArm:
    """A class of ``benchmarks/java``, compiled with the ``javac`` on the PATH, or by ``java`` itself where that has the compiler.

    Args:
        name: what the page calls it.
        source: the file's name, without ``.java``.
        endpoint: its jars, as jgo takes them: ``group:artifact:version+...``.
        arguments: what its ``main`` gets, from what the bench gives to all arms.
    """

    name: str
    source: str
    endpoint: str
    arguments: Callable[[Mapping[str, Any]], Sequence[str]]

    def missing(self) -> str | None:
        """No Java, no compiler, or no jars."""
        try:
            _start(self.source, self.endpoint)
        except KafkaUnavailable as error:
            return str(error)
        return None

    def versions(self) -> Mapping[str, str]:
        """Java's, and those of the artifacts that are named."""
        java = _version_of(find_java())
        return {"Java": java} | {artifact: number for _, artifact, number in _coordinates(self.endpoint)}

    def command(self, given: Mapping[str, Any]) -> Sequence[str]:
        """``java ... Source arguments``."""
        return [*_start(self.source, self.endpoint), *self.arguments(given)]


@functools.cache
def _start(source: str, endpoint: str) -> tuple[str, ...]:
    """The words that start the class, compiled once a run of the benchmarks."""
    java, javac, path = find_java(), shutil.which("javac"), _SOURCES / f"{source}.java"
    if javac is None and not _has_compiler(java):
        raise KafkaUnavailable("no javac is on the PATH, and the Java that is here has no compiler")
    classpath = _classpath(endpoint)
    words = (java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Xlog:disable", "-cp")
    if javac is None:
        return (*words, classpath, str(path))
    folder = _folder().name
    compiled = subprocess.run(
        [javac, "--release", "17", "-cp", classpath, "-d", folder, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if compiled.returncode:
        raise KafkaUnavailable(f"javac can't compile {path.name}: {compiled.stderr[:500]}")
    return (*words, os.pathsep.join([folder, classpath]), source)


def _has_compiler(java: str) -> bool:
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    return "jdk.compiler@" in modules


def _coordinates(endpoint: str) -> list[list[str]]:
    return [each.split(":") for each in endpoint.split("+")]


@functools.cache
def _version_of(java: str) -> str:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "([^"]+)"', said)
    return found[1] if found else "unknown"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    # Kept until the process ends.
    return tempfile.TemporaryDirectory()


def _classpath(endpoint: str) -> str:
    try:
        import jgo

        return os.pathsep.join(str(artifact.resolve()) for artifact in jgo.resolve(endpoint))
    except Exception as error:
        raise KafkaUnavailable(f"can't download {endpoint}: {' '.join(str(error).split())[:200]}") from error
