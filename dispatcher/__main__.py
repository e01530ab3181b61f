"""``python -m dispatcher``: the same as the command ``dispatch``."""

from dispatcher.cli import main

main()
