"""One process under test: the real command, with its assignments counted, and with a mutant in it when one is named.

    python member.py run APP ...

``FAULTS_MUTANT`` names a module of ``mutants/``, whose ``apply()`` breaks the dispatcher on purpose: each must turn
some probe red, or the probe proves nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection
from typing import Any

from ledger import epoch

from dispatcher.cli import main
from dispatcher.worker import Worker

MUTANT = "FAULTS_MUTANT"


def count_assignments() -> None:
    """Count each assignment before the worker takes it: its handlings belong to a new ownership."""
    assigned = Worker.on_assigned

    async def on_assigned(self: Worker, partitions: Collection[Any]) -> None:
        epoch.number += 1
        await assigned(self, partitions)

    Worker.on_assigned = on_assigned  # type: ignore[method-assign]


if __name__ == "__main__":
    count_assignments()
    if mutant := os.environ.get(MUTANT):
        importlib.import_module(f"mutants.{mutant}").apply()
    main()
