"""What two owners of a partition have done, put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.offsets import OffsetMap, decode_metadata, encode_metadata, merge_offsets

OFFSETS = st.sets(st.integers(0, 40))


def map_of(position: int, done: set[int], attempts: dict[int, int]) -> OffsetMap:
    """What a commit at ``position`` would say of these."""
    beyond = sorted(offset for offset in done if offset > position)
    ranges: list[tuple[int, int]] = []
    for offset in beyond:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return OffsetMap(ranges, {offset: count for offset, count in attempts.items() if offset not in done})


def lowest_open(position: int, done: set[int]) -> int:
    """The lowest offset from ``position`` on that is not done."""
    return next(offset for offset in range(position, 100) if offset not in done)


@given(
    position=st.integers(0, 20),
    other_position=st.integers(0, 30),
    done=OFFSETS,
    other_done=OFFSETS,
    attempts=st.dictionaries(st.integers(0, 45), st.integers(1, 5)),
    other_attempts=st.dictionaries(st.integers(0, 45), st.integers(1, 5)),
)
def test_a_merge_knows_what_either_knew(
    position: int,
    other_position: int,
    done: set[int],
    other_done: set[int],
    attempts: dict[int, int],
    other_attempts: dict[int, int],
) -> None:
    """An offset is done in the merge when one of the two had done it, and no other is; attempts are the higher count; and
    the result is a map that a commit can carry."""
    here, there = lowest_open(position, done), lowest_open(other_position, other_done)
    other_all = other_done | set(range(there))
    merged_at, merged = merge_offsets(
        here, map_of(here, done, attempts), there, map_of(there, other_done, other_attempts)
    )
    expected = {offset for offset in done | other_all | set(range(here)) if offset < 100}
    assert merged_at == lowest_open(here, expected)
    known = {offset for start, stop in merged.done for offset in range(start, stop)}
    assert known == {offset for offset in expected if offset > merged_at}
    for offset in (attempts.keys() | other_attempts.keys()) - expected:
        if offset >= merged_at:
            assert merged.attempts[offset] == max(attempts.get(offset, 0), other_attempts.get(offset, 0))
    assert not merged.attempts.keys() & (expected | set(range(merged_at)))
    read = decode_metadata(merged_at, encode_metadata(merged_at, merged))
    assert (list(read.done), read.attempts) == (merged.done, merged.attempts)
