"""Partitions are let go without a last commit: what was finished since the one before is delivered again."""

from __future__ import annotations

from dispatcher.worker import Worker


def apply() -> None:
    """Commit nothing while letting go."""
    let_go = Worker._let_go

    async def without_commit(self: Worker, *args: object, **options: object) -> None:
        consumer, self._commits.consumer = self._commits.consumer, None
        try:
            await let_go(self, *args, **options)  # type: ignore[arg-type]
        finally:
            self._commits.consumer = consumer

    Worker._let_go = without_commit  # type: ignore[method-assign]
