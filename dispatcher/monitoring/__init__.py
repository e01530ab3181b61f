"""What a process tells of itself over HTTP: metrics, and whether it is alive and ready."""

from dispatcher.monitoring.serving import Monitoring

__all__ = ["Monitoring"]
