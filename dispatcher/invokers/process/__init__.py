"""Functions in processes of their own, which stay warm and can be killed."""

from __future__ import annotations

from dispatcher.invokers.process.invoker import ProcessInvoker
from dispatcher.invokers.process.limits import ProcessLimits

__all__ = ["ProcessInvoker", "ProcessLimits"]
