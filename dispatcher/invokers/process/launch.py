"""Begins a function's process: ``python -P launch.py FD ENTRY...``; the entries are the dispatcher's own ``sys.path``.

Run as a file, since only with that path it is certain that the dispatcher can be imported.
"""

import sys

if __name__ == "__main__":
    descriptor, *entries = sys.argv[1:]
    # In the same order, so that a name means the same module in both.
    sys.path[:] = entries
    sys.argv = sys.argv[:1]

    from dispatcher.invokers.process.child import main

    main(int(descriptor))
