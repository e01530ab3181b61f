"""The process of one arm: ``python -m benchmarks.arm module:function {"json": "arguments"}``; figures go to the last line."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import logging
import sys


def main(call: str, arguments: str) -> None:
    """Call the function, and print the figures that it returns."""
    logging.basicConfig(level=logging.WARNING)
    module, _, name = call.partition(":")
    run = getattr(importlib.import_module(f"benchmarks.arms.{module}"), name)
    # What `dispatch run` does for its own process (server.tune_garbage_collector), for all arms alike.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    # What a bench gives to all of its arms may be more than one of them asks for.
    takes = inspect.signature(run).parameters
    given = {name: value for name, value in json.loads(arguments).items() if name in takes}
    figures = asyncio.run(run(**given)) if inspect.iscoroutinefunction(run) else run(**given)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
