"""See ``function.py``, the only file that is needed elsewhere."""

from functions.flag_anomaly.function import flag_anomaly

__all__ = ["flag_anomaly"]
