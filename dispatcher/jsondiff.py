"""What differs between two JSON values, path by path."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

__all__ = ["ABSENT", "Change", "changes"]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


#: In place of a value that is not there: null is one that is.
ABSENT: Any = _Absent()

# What is nested deeper is compared whole.
_DEEPEST = 100


class Change(NamedTuple):
    """One difference.

    Attributes:
        path: where, ``lines[2].total``; empty for the whole.
        old, new: what was and is there; :data:`ABSENT` for nothing.
    """

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        where = self.path or "value"
        if self.old is ABSENT:
            return f"+ {where}: {_shown(self.new)}"
        if self.new is ABSENT:
            return f"- {where}: {_shown(self.old)}"
        return f"~ {where}: {_shown(self.old)} -> {_shown(self.new)}"

    def as_json(self) -> dict[str, Any]:
        """As commands print it: what is not there has no field."""
        sides = {"old": self.old, "new": self.new}
        return {"path": self.path, **{side: value for side, value in sides.items() if value is not ABSENT}}


def changes(old: Any, new: Any, *, ignore: Collection[str] = ()) -> list[Change]:
    """The differences between two values, in the order of the old one.

    Lists are compared item by item, numbers by value (1 and 1.0 are equal), true and 1 differ.

    Args:
        old: a JSON value.
        new: what became of it.
        ignore: paths that do not count, with all below them; without the indexes of lists: ``lines.at``.
    """
    return list(_changes(old, new, "", "", frozenset(ignore), 0))


def _changes(old: Any, new: Any, path: str, plain: str, ignore: frozenset[str], depth: int) -> Iterator[Change]:
    if plain in ignore and plain:
        return
    if depth < _DEEPEST and isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            below, plainly = (f"{each}.{name}" if each else str(name) for each in (path, plain))
            yield from _changes(old.get(name, ABSENT), new.get(name, ABSENT), below, plainly, ignore, depth + 1)
    elif depth < _DEEPEST and isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before, after = (side[index] if index < len(side) else ABSENT for side in (old, new))
            yield from _changes(before, after, f"{path}[{index}]", plain, ignore, depth + 1)
    elif not _equal(old, new):
        yield Change(path, old, new)


def _equal(old: Any, new: Any) -> bool:
    return isinstance(old, bool) is isinstance(new, bool) and bool(old == new)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 200 else f"{text[:197]}..."
