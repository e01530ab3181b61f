"""How much a run of the suite tries."""

from __future__ import annotations

from typing import Literal

__all__ = ["SIZE", "Size"]

#: What CI has the time for, or what the promise says.
Size = Literal["smoke", "full"]
#: The environment's name for it.
SIZE = "FAULTS_SIZE"
