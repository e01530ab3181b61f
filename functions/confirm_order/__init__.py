"""See ``function.py``, the only file that is needed elsewhere."""

from functions.confirm_order.function import confirm_order

__all__ = ["confirm_order"]
