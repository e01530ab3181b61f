"""What a worker did, and could not commit, is not done again when the partition comes back to it."""

from __future__ import annotations

from dispatcher.core.offsets import OffsetMap, encode_metadata
from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.worker.positions import Beginning
from dispatcher.worker.unsaved import Unsaved

ID = TopicPartition("stream", 0)


def ownership(*, base: int, position: int) -> Partition:
    """An ownership that committed ``base`` and went on to ``position``."""
    partition = Partition(ID, base, OffsetMap())
    partition.committed(Committed(base, ""))
    partition.offsets.advance(position)
    return partition


def beginning(offset: int, **known: object) -> Beginning:
    """An ownership that begins at a commit."""
    offsets = OffsetMap(**known)  # type: ignore[arg-type]
    return Beginning(offset, offsets, Committed(offset, encode_metadata(offset, offsets)))


def test_what_was_refused_is_known_in_the_next_ownership() -> None:
    """Nobody has committed since: it begins where the worker had come to. And it knows so once, not for ever."""
    unsaved = Unsaved()
    unsaved.keep([ownership(base=100, position=120)])
    assert unsaved.add(ID, beginning(100)).position == 120
    assert unsaved.add(ID, beginning(100)).position == 100


def test_it_adds_to_what_a_successor_did_meanwhile() -> None:
    """A successor has come further in some places: both count."""
    unsaved = Unsaved()
    unsaved.keep([ownership(base=100, position=120)])
    begun = unsaved.add(ID, beginning(105, done=[(110, 130), (140, 150)]))
    assert (begun.position, begun.offsets.done) == (130, [(140, 150)])


def test_a_position_that_was_set_back_counts() -> None:
    """An operator, or a stream made anew, says that the events are wanted again."""
    unsaved = Unsaved()
    unsaved.keep([ownership(base=100, position=120)])
    assert unsaved.add(ID, beginning(50)).position == 50
    unsaved.keep([ownership(base=100, position=120)])
    assert unsaved.add(ID, Beginning(0, OffsetMap(), Committed(100, ""))).position == 0
    unsaved.keep([ownership(base=100, position=120)])
    assert unsaved.add(ID, Beginning(0, OffsetMap())).position == 0


def test_what_was_committed_is_not_kept() -> None:
    """An ownership that ended with its commit leaves nothing behind."""
    unsaved = Unsaved()
    unsaved.keep([ownership(base=100, position=100)])
    assert unsaved.add(ID, beginning(100)) == beginning(100)
