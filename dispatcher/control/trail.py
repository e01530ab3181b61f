"""What the entries of a control stream come to: each function's state, and how it came to it."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.control.entry import Entry, decode
from dispatcher.core.record import Record

__all__ = ["KEPT", "Trail"]

#: Entries that are kept of a function; older ones are deleted by the commands, so that the stream stays small.
KEPT = 200


class Trail:
    """The entries of all functions, in the log's order. The last of a function is its state.

    Latest by key: a tombstone takes the entry of its key away, whether the log has been compacted or not.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[bytes, Entry]] = {}

    def take(self, record: Record) -> None:
        """The next record of the log.

        Raises:
            ValueError: it holds no entry.
        """
        key = record.key or b""
        if record.value is None:
            self._of(key.decode(errors="replace").rpartition(":")[0]).pop(key, None)
            return
        entry = decode(record)
        self._entries.setdefault(entry.function, {})[key] = entry

    def last(self, function: str) -> Entry | None:
        """What was said of it last; None when nothing ever was."""
        return next(reversed(self._of(function).values()), None)

    def paused(self, function: str) -> Entry | None:
        """Who paused it and why; None when it is not paused."""
        entry = self.last(function)
        return entry if entry is not None and entry.action == "pause" else None

    def history(self, function: str) -> Sequence[Entry]:
        """All that was said of it, the first first."""
        return list(self._of(function).values())

    def functions(self) -> Sequence[str]:
        """The functions of which something was said."""
        return sorted(name for name, entries in self._entries.items() if entries)

    def superfluous(self, function: str) -> Sequence[bytes]:
        """The keys of entries that are older than the last :data:`KEPT`."""
        return list(self._of(function))[:-KEPT]

    def _of(self, function: str) -> dict[bytes, Entry]:
        return self._entries.get(function, {})
