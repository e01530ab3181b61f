"""From a binding and its target to what calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from bindings.binding import Binding
from dispatcher.config.targets import LocalTarget, ProcessTarget
from dispatcher.invokers.base import Invoker

__all__ = ["make_invoker"]


def make_invoker(binding: Binding, target: LocalTarget | ProcessTarget | None = None) -> Invoker | None:
    """What calls a binding at its target; None for this process, where the worker makes its own.

    Args:
        binding: the function and its policies.
        target: where it runs.

    Raises:
        ConfigurationError: the function can't run there, or not under these limits.
    """
    if isinstance(target, ProcessTarget):
        from dispatcher.invokers.process import ProcessInvoker, ProcessLimits

        given = target.model_dump(exclude={"type"}, exclude_unset=True)
        return ProcessInvoker(binding, root=_root_of(binding), limits=ProcessLimits(**given))
    return None


def _root_of(binding: Binding) -> Path | None:
    """The folder at which the name of the function's module begins: a new process imports it from there."""
    name = binding.function.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    return path.parents[name.count(".") + (path.name == "__init__.py")]
