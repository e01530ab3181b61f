"""Whose telemetry it is, as OpenTelemetry says it. Needs the extra ``otlp``."""

from __future__ import annotations

import os
import socket

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

__all__ = ["resource_of"]


def resource_of(app: str) -> Resource:
    """The app and this process, and what ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` say in their place."""
    instance = f"{socket.gethostname()}-{os.getpid()}"
    ours = Resource.create({"service.name": app, "service.instance.id": instance})
    return ours.merge(OTELResourceDetector().detect())
