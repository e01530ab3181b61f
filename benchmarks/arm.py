"""The process of one arm: ``python -m benchmarks.arm module:function {"json": "arguments"} [--profile]``.

Its figures go to the last line of what it prints; a profile, which slows Python's own calls more than a library's in C, goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import gc
import importlib
import inspect
import json
import logging
import pstats
import sys


def main(call: str, arguments: str, profile: str = "") -> None:
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
    with cProfile.Profile() if profile else contextlib.nullcontext() as profiled:
        figures = asyncio.run(run(**given)) if inspect.iscoroutinefunction(run) else run(**given)
    if profiled is not None:
        pstats.Stats(profiled, stream=sys.stderr).sort_stats("tottime").print_stats(40)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
