"""See ``function.py``, the only file that is needed elsewhere."""

from functions.check_limit.function import check_limit

__all__ = ["check_limit"]
