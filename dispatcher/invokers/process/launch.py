"""Begins a function's process: ``python -P launch.py FD ENTRY...``; the entries are the dispatcher's own ``sys.path``.

Run as a file, since only with that path it is certain that the dispatcher can be imported.
"""

import sys

if __name__ == "__main__":
    descriptor, *entries = sys.argv[1:]
    # Behind what this interpreter has already: in front, site-packages would hide modules of the standard library.
    sys.path += [entry for entry in entries if entry not in sys.path]
    sys.argv = sys.argv[:1]

    from dispatcher.invokers.process.child import main

    main(int(descriptor))
