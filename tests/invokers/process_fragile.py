"""A module whose import does what a file says, in processes that may see where the file is."""

from __future__ import annotations

import os
from pathlib import Path

from process_functions import OUT, STREAM, Order

from bindings import Retry, on_stream

if (_file := os.environ.get("PROCESS_TEST_FILE")) and Path(_file).exists():
    exec(Path(_file).read_text())  # noqa: S102 - the test's own file


@on_stream(STREAM, retry=Retry(max_attempts=1), emits=OUT, concurrency=4)
def handles(order: Order) -> dict[str, int]:
    """Nothing is wrong with it."""
    return {"id": order.id, "pid": os.getpid()}
