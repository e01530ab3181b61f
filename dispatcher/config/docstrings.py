"""What the docstrings of settings and policies say of each, so that it is written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

__all__ = ["descriptions_of"]

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): ")


def descriptions_of(cls: type) -> Mapping[str, str]:
    """Each name in the ``Args:`` or ``Attributes:`` of a docstring, with what is said of it."""
    found: dict[str, str] = {}
    for section in _SECTION.findall(inspect.getdoc(cls) or ""):
        names: list[str] = []
        for line in inspect.cleandoc(section).splitlines():
            if match := _ENTRY.match(line):
                names = match[1].split(", ")
                for name in names:
                    found[name] = line[match.end() :].strip()
            else:
                for name in names:
                    found[name] = f"{found[name]} {line.strip()}"
    return {name: text.replace("``", "`").strip() for name, text in found.items()}
