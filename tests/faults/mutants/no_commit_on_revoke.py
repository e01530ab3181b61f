"""Partitions are let go without a last commit: what was finished since the one before is delivered again."""

from __future__ import annotations

from dispatcher.worker import Worker


def apply() -> None:
    """Commit nothing while letting go."""
    let_go, commit = Worker._let_go, Worker._commit

    async def without_commit(self: Worker, *args: object, **options: object) -> None:
        async def nothing() -> None:
            pass

        self._commit = nothing  # type: ignore[method-assign]
        try:
            await let_go(self, *args, **options)  # type: ignore[arg-type]
        finally:
            self._commit = commit.__get__(self)  # type: ignore[method-assign]

    Worker._let_go = without_commit  # type: ignore[method-assign]
