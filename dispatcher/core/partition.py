"""One ownership of one partition."""

from __future__ import annotations

from dispatcher.core.delivery import Delivery, record_size
from dispatcher.core.offsets import METADATA_LIMIT, OffsetMap, OffsetTracker, fit_metadata
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.core.stretch import Stretch

__all__ = ["Partition", "lone_delivery"]

#: Past this part of the metadata limit, new events of the partition wait until the map is smaller.
_MAP_IS_FULL = 0.75
# Where fewer bytes than this are taken, sixteen events at a time (the default) fill them with nothing stuck, with some 80:
# all would wait all the time, and only to repeat less after a crash.
_LEAST_TO_WAIT_FOR = 128


class Partition:
    """All that is known of one partition from its assignment to its revocation.

    A new assignment makes a new object, and results are matched by the identity of it: the object *is* the
    epoch, so that nothing from before a rebalance can ever complete anything after it.

    Attributes:
        id: topic and number.
        offsets: what is done and what is pending.
        pending: the tracker's, one look-up closer.
        lanes: lane key -> the head of that lane: ready, running, parked or settling. Empty for unordered
            functions.
        open: events of it may start. False once it is being revoked.
        active: results count. False once it has gone.
        held_bytes: bytes of the pending events, and of those in the stretch.
        fetched_bytes: bytes of the events that came together last.
        parked: events that wait for their next attempt.
        stretch: events that were received and not admitted; None while others are pending.
        unsettled: while draining, what is still in flight or on its way to the broker.
    """

    __slots__ = (
        "_asking",
        "_committed",
        "_due",
        "_fitted",
        "_map_is_full",
        "active",
        "fetched_bytes",
        "held_bytes",
        "id",
        "lanes",
        "offsets",
        "open",
        "parked",
        "pending",
        "stretch",
        "unsettled",
    )

    def __init__(self, partition: TopicPartition, position: int, offsets: OffsetMap) -> None:
        self.id = partition
        self.offsets = OffsetTracker(position, offsets)
        self.pending = self.offsets.pending
        self.lanes: dict[bytes, Delivery] = {}
        self.open = True
        self.active = True
        self.held_bytes = self.fetched_bytes = 0
        self.parked = 0
        self.stretch: Stretch | None = None
        self.unsettled: set[Delivery] = set()
        self._asking = True
        self._map_is_full = False
        self._committed: Committed | None = None
        self._due: Committed | None = None
        # The limit and the state of the offsets for which _due was made.
        self._fitted: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<Partition {self.id.topic}/{self.id.partition} at {self.offsets.position} pending={len(self.pending)}>"

    @property
    def received(self) -> int:
        """The offset after the last one that the broker handed over."""
        return self.offsets.end if self.stretch is None else self.stretch.end

    def pass_to(self, offset: int) -> None:
        """Take note that nothing more comes of it below ``offset``: markers, aborted or compacted records."""
        if not self.open:
            # It may have lost its stretch, which the consumer has passed and nobody has run.
            return
        if self.stretch is not None:
            self.stretch.end = max(self.stretch.end, offset)
        else:
            self.offsets.advance(offset)

    def wants_more(self, *, events: int, held_bytes: int, park_limit: int) -> bool:
        """Whether to ask the broker for more of it: not past the high watermarks until at half of them."""
        if not self.open:
            return False
        count = len(self.pending) + (len(self.stretch.records) if self.stretch is not None else 0)
        if self._asking:
            # A fetch brings as much as the last one, as a rule: 500 events of 10 KB were half of what six partitions may hold.
            # Of nearly nothing held one is asked for, however large.
            coming = min(self.fetched_bytes, held_bytes // 2)
            self._asking = count < events and self.held_bytes + coming <= held_bytes
        else:
            self._asking = 2 * count <= events and 2 * self.held_bytes <= held_bytes
        return self._asking and self.parked < park_limit and not self._map_is_full

    def due_commit(self, limit: int = METADATA_LIMIT) -> Committed | None:
        """What to commit, or None when that has been committed already."""
        position = self.offsets.position
        if not self.pending and self._committed is not None and self._committed.offset == position:
            self._map_is_full = False
            return None
        # A map of 10,000 holes takes 5 ms; where the holes stay, other partitions' commits must not wait for it each time.
        if self._fitted != (limit, *self.offsets.state):
            self._fitted = (limit, *self.offsets.state)
            metadata, whole = fit_metadata(position, self.offsets.offset_map(), limit)
            self._map_is_full = limit >= _LEAST_TO_WAIT_FOR and (not whole or len(metadata) > _MAP_IS_FULL * limit)
            self._due = Committed(position, metadata)
        return None if self._due == self._committed else self._due

    @property
    def last_commit(self) -> Committed | None:
        """The last commit that the broker is known to have; None when there was none yet."""
        return self._committed

    def committed(self, commit: Committed) -> None:
        """Take note that the broker has ``commit``."""
        self._committed = commit


def lone_delivery(record: Record) -> Delivery:
    """A delivery of one event that no scheduler knows of, for trying a function on it: nothing waits for it, nothing is committed."""
    partition = Partition(TopicPartition(record.topic, record.partition), record.offset, OffsetMap())
    return Delivery(record, partition, None, record_size(record))
