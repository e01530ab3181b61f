"""What an export is: a document, and what it can't say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bindings.manifest import FunctionEntry

__all__ = ["Export", "logical_ids"]


@dataclass(frozen=True, slots=True)
class Export:
    """One document.

    Attributes:
        document: what JSON is made of.
        warnings: what the binding says and the document does not, each ``function: policy: what happens instead``.
    """

    document: dict[str, Any]
    warnings: tuple[str, ...] = ()


def logical_ids(functions: Iterable[FunctionEntry]) -> dict[str, str]:
    """From each function's name to a name of letters and digits, as CloudFormation wants them; no two alike."""
    found: dict[str, str] = {}
    for function in functions:
        base = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", function.name)) or "Function"
        name, number = base, 1
        while name in found.values():
            number += 1
            name = f"{base}{number}"
        found[function.name] = name
    return found
