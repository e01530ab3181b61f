"""One binding at work: poll, admit, invoke, settle, commit."""

from dispatcher.worker.worker import Worker

__all__ = ["Worker"]
