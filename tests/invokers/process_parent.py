"""A dispatcher that is going to be killed: run as a program, it invokes a function in a process and prints its number.

Arguments: ``busy`` for a function that never returns, ``idle`` for one that has.
"""

from __future__ import annotations

import asyncio
import sys

import process_functions as functions
from stage import binding_of, order

from dispatcher.invokers.process import ProcessInvoker
from dispatcher.invokers.process.messages import Received, Record


async def main(how: str) -> None:
    """Invoke once, say which process it was, and wait to be killed."""
    function = functions.marks if how == "busy" else functions.waits
    binding = binding_of(function)
    invoker = ProcessInvoker(binding)
    batch = [Received(Record("events", 0, 0, 0, None, order(1), ()), 0)]
    invocation = asyncio.create_task(invoker.invoke(batch))  # type: ignore[arg-type]
    if how == "idle":
        await invocation
    while not invoker.pids or not invoker.pids[0]:
        await asyncio.sleep(0.01)
    sys.stdout.write(f"{invoker.pids[0]}\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
