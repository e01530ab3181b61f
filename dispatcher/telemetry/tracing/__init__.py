"""Traces of invocations, by OpenTelemetry. Nothing of it is imported, or paid for, where ``traces`` is not set."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dispatcher.config.settings import Settings
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from dispatcher.telemetry.tracing.provider import Tracing

__all__ = ["opened"]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Tracing | None]:
    """Trace while it is entered; at the end what is left is exported, within five seconds. To be entered when the functions
    are imported: their code may have set up OpenTelemetry itself.

    Args:
        settings: which say where to: ``traces``, ``trace_ratio``, ``trace_parent``.

    Returns:
        None where nothing is to be traced.

    Raises:
        ConfigurationError: the extra ``otlp`` is not installed.
    """
    if settings.traces is None:
        yield None
        return
    try:
        from bindings.trace import tell_trace
        from dispatcher.telemetry.tracing.provider import Tracing
    except ImportError as error:
        raise ConfigurationError(f"traces needs {error.name}: pip install 'dispatch-runtime[otlp]'") from error
    tracing = Tracing.begin(settings)
    if tracing is None:
        yield None
        return
    for handler in logging.getLogger().handlers:
        handler.addFilter(tell_trace)
    try:
        yield tracing
    finally:
        await tracing.end()
