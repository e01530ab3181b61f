"""An event that waits for its next attempt does not hold the commit back: whoever comes after never sees it."""

from __future__ import annotations

from dispatcher.core.delivery import State
from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed


def apply() -> None:
    """Commit up to the first event that is neither done nor parked."""

    def due_commit(self: Partition, limit: int = 0) -> Committed | None:
        running = (offset for offset, delivery in self.pending.items() if delivery.state != State.PARKED)
        due = Committed(next(running, self.offsets.end))
        return None if due == self._committed else due

    Partition.due_commit = due_commit  # type: ignore[method-assign]
