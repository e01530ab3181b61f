"""What is wrong with a configuration: all of it at once, each with its place and the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dispatcher.errors import ConfigurationError

__all__ = ["Problem", "nearest", "raise_all"]


class Problem(NamedTuple):
    """One thing that is wrong. ``place`` is a file with its line, or a variable's name; it holds no value."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


def nearest(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """``"; did you mean ...?"``, or what there is. A prefix that all have makes none of them nearer."""
    known = sorted(each.removeprefix(prefix) for each in set(names))
    name = name.removeprefix(prefix)
    # Without case, for a variable that is named like a setting or the other way round.
    by_folded = {each.casefold().replace("-", "_"): each for each in known}
    if near := difflib.get_close_matches(name.casefold().replace("-", "_"), by_folded, 1):
        return f"; did you mean {prefix}{by_folded[near[0]]}?"
    return f"; there are: {', '.join(prefix + each for each in known)}" if known else ""


def raise_all(problems: Sequence[Problem]) -> None:
    """Raise ConfigurationError with all of them, if there are any."""
    if not problems:
        return
    unique = list(dict.fromkeys(map(str, problems)))
    if len(unique) == 1:
        raise ConfigurationError(unique[0])
    raise ConfigurationError("\n".join([f"{len(unique)} settings are wrong:", *(f"  {each}" for each in unique)]))
