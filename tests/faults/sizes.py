"""How much a run of the suite tries."""

from __future__ import annotations

import os
from typing import Literal

import pytest

__all__ = ["SIZE", "Size", "full_alone"]

#: What CI has the time for, or what the promise says.
Size = Literal["smoke", "full"]
#: The environment's name for it.
SIZE = "FAULTS_SIZE"
#: Controls that take long and are not among those that every run must show: each has broken its probe in full.
full_alone = pytest.mark.skipif(os.environ.get(SIZE) != "full", reason="in full alone")
