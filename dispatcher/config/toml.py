"""TOML with the line of each key, which the standard library's parser does not tell."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dispatcher.errors import ConfigurationError

__all__ = ["lines_of", "read"]

#: From a table to a value.
Keys = tuple[str, ...]


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The content of a file, and its text.

    Raises:
        ConfigurationError: it can't be read, or is not TOML; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8, as TOML has to be") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def lines_of(text: str) -> dict[Keys, int]:
    """The line on which each table and value begins, counted from 1, in a text that is known to be TOML."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    chunk, begin = "", 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not chunk:
            begin = number
        chunk += line
        # A statement is what the parser takes: one line, unless an array or a long string is open.
        try:
            statement = tomllib.loads(chunk)
        except tomllib.TOMLDecodeError:
            continue
        if chunk.lstrip().startswith("["):
            table = next(_paths(statement), ())
            found.setdefault(table, begin)
        else:
            for keys in _paths(statement):
                for length in range(1, len(keys) + 1):
                    found.setdefault((*table, *keys[:length]), begin)
        chunk = ""
    return found


def _paths(value: object) -> Iterator[Keys]:
    """From the outermost table to each value that holds no other."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        value = value[-1]  # of an array of tables
    if not isinstance(value, Mapping) or not value:
        yield ()
        return
    for key, inner in value.items():
        for keys in _paths(inner):
            yield (key, *keys)
