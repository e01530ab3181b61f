"""A dispatcher that is going to be killed: run as a program, it invokes a function in a process and prints its number.

Arguments: ``busy`` for a function that never returns, ``idle`` for one that has.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import process_functions as functions
from stage import binding_of, order

from bindings.envelopes.record import WireRecord
from bindings.invocation import Received
from dispatcher.invokers.process import ProcessInvoker, ProcessLimits


async def main(how: str) -> None:
    """Invoke once, say which process it was, and wait to be killed."""
    function = functions.marks if how == "busy" else functions.waits
    binding = binding_of(function)
    invoker = ProcessInvoker(binding, limits=ProcessLimits(environment=("PROCESS_TEST_FILE",)))
    batch = [Received(WireRecord("events", 0, 0, 0, None, order(1), ()), 0)]
    invocation = asyncio.create_task(invoker.invoke(batch))  # type: ignore[arg-type]
    if how == "idle":
        await invocation
    while how == "busy" and not Path(os.environ["PROCESS_TEST_FILE"]).exists():
        assert not invocation.done()
        await asyncio.sleep(0.01)
    sys.stdout.write(f"{invoker.pids[0]}\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
