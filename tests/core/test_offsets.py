"""Offsets that are done, and how they travel in commit metadata."""

from __future__ import annotations

import base64
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bindings.failure import FailureKind
from dispatcher.core.offsets import METADATA_LIMIT, OffsetMap, OffsetTracker, _varint, decode_metadata, encode_metadata
from dispatcher.errors import InvalidOffsetMetadata

from .support import P0, failure, make_scheduler, offsets, rec, take_all

positions = st.integers(0, 1 << 40)


def sealed(kind: str, body: bytes, position: int = 0) -> str:
    """Metadata with that body and the checksum that belongs to it: damage past the first gate."""
    checksum = zlib.crc32(body, zlib.crc32(position.to_bytes(8, "big"))).to_bytes(4, "big")
    return f"dsp1{kind}.{base64.b64encode(body + checksum).decode()}"


@st.composite
def offset_maps(draw: st.DrawFn, most: int = 60) -> tuple[int, OffsetMap]:
    """A position and a map beyond it: ascending ranges that do not touch, attempts for some of the rest."""
    position = draw(positions)
    done, attempts, at = [], {}, position
    for gap, length, count in draw(
        st.lists(
            st.tuples(st.integers(1, 40), st.integers(1, 40), st.none() | st.integers(1, 10_000)),
            max_size=most,
        )
    ):
        if count is not None:
            attempts[at] = count
        done.append((at + gap, at + gap + length))
        at += gap + length
    return position, OffsetMap(done, attempts)


def claimed(offset_map: OffsetMap) -> set[int]:
    """Every single offset that is said to be done."""
    return {offset for start, stop in offset_map.done for offset in range(start, stop)}


@pytest.mark.parametrize("kind", ["r", "b", "R", "B", "rbRB"])
@given(offset_maps())
def test_each_encoding_reads_back_what_was_written(kind: str, made: tuple[int, OffsetMap]) -> None:
    """Proves that a map survives the commit in each of the four encodings, ranges and attempts alike."""
    position, offset_map = made
    text = encode_metadata(position, offset_map, limit=1 << 20, kinds=kind)
    assert text == "" or text.startswith(("dsp1" + kind) if len(kind) == 1 else "dsp1")
    read = decode_metadata(position, text)
    assert list(read.done) == list(offset_map.done)
    assert read.attempts == offset_map.attempts


@given(offset_maps())
def test_the_smallest_encoding_is_chosen(made: tuple[int, OffsetMap]) -> None:
    """Proves that no other encoding of the map would have been shorter."""
    lengths = [len(encode_metadata(*made, limit=1 << 20, kinds=kind)) for kind in "rbRB"]
    assert len(encode_metadata(*made)) == min(lengths)


@given(offset_maps(most=400), st.integers(0, 300))
@settings(deadline=None)
def test_a_map_that_does_not_fit_keeps_its_near_end(made: tuple[int, OffsetMap], limit: int) -> None:
    """Proves that truncation respects the limit, never invents a completion or an attempt, and gives up
    the far end first."""
    position, offset_map = made
    text = encode_metadata(position, offset_map, limit)
    assert len(text) <= limit
    read = decode_metadata(position, text)
    kept = len(read.done)
    assert list(read.done) == list(offset_map.done)[:kept]
    tried = sorted(offset_map.attempts.items())
    assert sorted(read.attempts.items()) == tried[: len(read.attempts)]


def sparse(count: int) -> OffsetMap:
    """Gaps and runs of pseudo-random lengths, which nothing compresses well."""
    done, at, seed = [], 0, 1
    for _ in range(count):
        seed = seed * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        start = at + 1 + (seed >> 8) % 97
        at = start + 1 + (seed >> 16) % 89
        done.append((start, at))
    return OffsetMap(done, {})


@pytest.mark.parametrize(
    "offset_map",
    [
        sparse(20_000),
        OffsetMap([(2 * n + 1, 2 * n + 2) for n in range(100_000)], {}),
        OffsetMap([], {n * 7: n % 9_999 + 1 for n in range(20_000)}),
        OffsetMap([(1, 2)], {n * 1_000_003: 10_000 for n in range(5_000)}),
        OffsetMap([(1 << 39, (1 << 39) + 5)], {}),
    ],
    ids=["incompressible", "alternating", "attempts", "wide-attempts", "far"],
)
def test_the_worst_maps_fit_the_brokers_limit_and_read_back(offset_map: OffsetMap) -> None:
    """Proves that 4,096 bytes are never passed, and that even what deflates very well (100,000 holes in
    a row) is written so that the reader takes it."""
    text = encode_metadata(0, offset_map)
    assert 0 < len(text.encode()) <= METADATA_LIMIT
    read = decode_metadata(0, text)
    assert list(read.done) == list(offset_map.done)[: len(read.done)]
    assert read.attempts.items() <= offset_map.attempts.items()
    assert read.done or read.attempts


def test_a_truncated_map_holds_new_work_back() -> None:
    """Proves that a map which jumps past the limit between two commits counts as full, though what is left of
    it is small, and that the partition is asked for again once it fits."""
    scheduler = make_scheduler(order="none", concurrency=10_000)
    partition = scheduler.partitions[P0]
    scheduler.admit(P0, [rec(n) for n in range(3_999)], now=1.0)
    taken = take_all(scheduler, 1.0)
    late = [delivery for delivery, gone in zip(taken, sparse_bits(len(taken)), strict=True) if not gone]
    for delivery in taken:
        if delivery not in late:
            scheduler.done(delivery)
    partition.due_commit(200)
    assert scheduler.wanted() == []
    for delivery in late:
        scheduler.done(delivery)
    partition.due_commit(200)
    assert scheduler.wanted() == [P0]


def test_where_next_to_no_metadata_is_taken_nothing_waits_for_room() -> None:
    """Proves that a limit which ordinary work fills holds no new work back, whatever is left out of the map."""
    scheduler = make_scheduler(order="none", concurrency=16)
    partition = scheduler.partitions[P0]
    scheduler.admit(P0, [rec(n) for n in range(16)], now=1.0)
    for delivery in take_all(scheduler, 1.0)[1::2]:
        scheduler.done(delivery)
    commit = partition.due_commit(30)
    assert commit is not None
    assert len(commit.metadata) <= 30
    assert scheduler.wanted() == [P0]


def sparse_bits(count: int) -> list[bool]:
    """True for about half, in no pattern."""
    seed, bits = 1, []
    for _ in range(count):
        seed = seed * 1_103_515_245 + 12_345 & 0x7FFFFFFF
        bits.append(bool(seed >> 16 & 1))
    return bits


@given(
    st.one_of(
        st.text(),
        st.text().map("dsp1".__add__),
        st.builds(lambda kind, body: sealed(kind, body, 1_000), st.sampled_from("rbRBx"), st.binary()),
        st.builds(
            lambda kind, body: sealed(kind, zlib.compress(body)[2:-4], 1_000),
            st.sampled_from("RB"),
            st.binary(),
        ),
    )
)
@settings(max_examples=300)
def test_foreign_and_damaged_metadata_is_refused_with_one_error(text: str) -> None:
    """Proves that whatever stands in a commit, reading it gives a sane map or InvalidOffsetMetadata, nothing else."""
    try:
        read = decode_metadata(1_000, text)
    except InvalidOffsetMetadata:
        return
    assert all(1_000 <= start <= stop for start, stop in read.done)
    assert all(offset >= 1_000 for offset in read.attempts)


@pytest.mark.parametrize("text", ["offset=3", "dsp1", "dsp1r", "dsp2r.AAA=", "dsp1r.", "dsp1r.é", "dsp1R.AAAA", "{}"])
def test_what_others_wrote_is_refused(text: str) -> None:
    """Proves that metadata of other programs, and of later versions of this one, is not taken for a map."""
    with pytest.raises(InvalidOffsetMetadata):
        decode_metadata(0, text)


@given(offset_maps(), st.data())
def test_a_cut_commit_is_refused_or_claims_less(made: tuple[int, OffsetMap], data: st.DataObject) -> None:
    """Proves that metadata that lost its end is never read as more completions than were written."""
    position, offset_map = made
    text = encode_metadata(position, offset_map, limit=1 << 20, kinds=data.draw(st.sampled_from("rbRB")))
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        read = decode_metadata(position, cut)
    except InvalidOffsetMetadata:
        return
    assert claimed(read) <= claimed(offset_map)


def _body(*numbers: int) -> bytes:
    return bytes(numbers)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("r", _body(5, 1, 1)),  # a map of five bytes, of which two are there
        ("r", _body(0x81, 0x00, 1)),  # a number with an empty last byte
        ("r", _body(1, 1)),  # a gap without a run
        ("r", _body(0, 3)),  # a gap without attempts
        ("r", _body(1, 0x80)),  # ends inside a number
        ("r", _body(2, 1, 0)),  # an empty run
        ("r", b"\x0a" + b"\xff" * 9 + b"\x01"),  # a number beyond any offset
    ],
)
def test_a_body_that_does_not_add_up_is_refused(kind: str, body: bytes) -> None:
    """Proves that each way in which the numbers can disagree is found."""
    with pytest.raises(InvalidOffsetMetadata):
        decode_metadata(0, sealed(kind, body))


@pytest.mark.parametrize("byte", [0x00, 0x55, 0xFF, 0x01])
@pytest.mark.parametrize("kind", ["R", "B"])
def test_a_deflate_bomb_costs_neither_memory_nor_time(kind: str, byte: int) -> None:
    """Proves that a small hostile commit that inflates without end is refused, or read, within bounds."""
    # 60,000 is within what is inflated at all; 50 MB is far beyond it.
    for size in (60_000, 50_000_000):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = deflate.compress(_varint(size) + bytes([byte]) * size) + deflate.flush()
        text = sealed(kind, body)
        tracemalloc.start()
        began = time.process_time()
        try:
            read = decode_metadata(0, text)
        except InvalidOffsetMetadata:
            pass
        else:
            assert kind == "R"
            assert size == 60_000
            assert len(read.done) <= size // 2
        assert time.process_time() - began < 2.0
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


def test_the_widest_bit_set_that_is_written_is_read() -> None:
    """Proves that the reader's bound on bit sets is not below what the writer makes."""
    offset_map = OffsetMap([(32_767, 32_768)], {})
    text = encode_metadata(0, offset_map, limit=1 << 20, kinds="b")
    assert text.startswith("dsp1b.")
    assert decode_metadata(0, text).done == [(32_767, 32_768)]
    assert encode_metadata(0, OffsetMap([(32_767, 32_769)], {}), limit=1 << 20, kinds="b") == ""


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40), st.integers(0, 60))
def test_a_successor_admits_exactly_what_was_not_done(events: list[tuple[int, bool]], cut: int) -> None:
    """Proves precise offsets through the tracker: over gaps, and over two changes of owner, only what was not
    done is admitted again, though the successor dies having read a part of it."""
    records, at = [], 0
    for gap, _ in events:
        at += gap
        records.append(rec(at))
        at += 1
    finished = {record.offset for record, (_, done) in zip(records, events, strict=True) if done}
    scheduler = make_scheduler(order="none", concurrency=100)
    scheduler.admit(P0, records, now=1.0)
    for delivery in take_all(scheduler, 1.0):
        if delivery.record.offset in finished:
            scheduler.done(delivery)
    for most in (cut, 1_000):
        ((_, commit),) = scheduler.due_commits().items()
        scheduler = make_scheduler(order="none", concurrency=100)
        scheduler.assign(P0, commit.offset, decode_metadata(commit.offset, commit.metadata))
        again = [record for record in records if record.offset >= commit.offset][:most]
        scheduler.admit(P0, again, now=1.0)
        expected = [record.offset for record in again if record.offset not in finished]
        assert offsets(take_all(scheduler, 1.0)) == expected


def test_attempts_come_back_with_the_event_even_unread() -> None:
    """Proves that attempts restored for an event that the successor never got to read are committed again."""
    scheduler = make_scheduler(order="none")
    partition = scheduler.assign(P0, 10, OffsetMap([(11, 13)], {10: 2, 13: 4}))
    assert partition.offsets.offset_map() == OffsetMap([(11, 13)], {10: 2, 13: 4})
    scheduler.admit(P0, [rec(10)], now=1.0)
    assert partition.offsets.offset_map() == OffsetMap([(11, 13)], {10: 2, 13: 4})
    taken = take_all(scheduler, 1.0)
    assert taken[0].attempts == 2
    scheduler.done(taken[0])
    assert partition.offsets.offset_map().attempts == {13: 4}


def test_offsets_that_were_never_there_count_as_done() -> None:
    """Proves that compacted records and transaction markers do not hold the commit up, once later ones came."""
    tracker = OffsetTracker(5, OffsetMap())
    assert tracker.position == 5
    tracker.advance(9)
    tracker.advance(7)
    assert tracker.position == 9
    assert tracker.offset_map() == OffsetMap([], {})


def test_ranges_that_meet_are_written_as_one() -> None:
    """Proves that what this owner did and what a former one did beyond it make one range, so the map stays small."""
    scheduler = make_scheduler(order="none")
    partition = scheduler.assign(P0, 0, OffsetMap([(3, 5), (8, 9)], {}))
    scheduler.admit(P0, [rec(n) for n in range(3)], now=1.0)
    for delivery in take_all(scheduler, 1.0)[1:]:
        scheduler.done(delivery)
    assert partition.offsets.offset_map().done == [(1, 5), (8, 9)]


def test_a_refused_event_between_others_holds_the_commit_and_no_more() -> None:
    """Proves that events given up at the door keep their place: the position passes neither them nor the
    others before they are done."""
    scheduler = make_scheduler(order="none")
    bad = failure(FailureKind.TERMINAL)
    refused = scheduler.admit(
        P0, [rec(n) for n in range(4)], now=1.0, screen=lambda record: bad if record.offset % 2 else True
    )
    assert offsets([delivery for delivery, _ in refused]) == [1, 3]
    assert list(scheduler.partitions[P0].pending) == [0, 1, 2, 3]
    letters = [scheduler.give_up(delivery, why, wall_ms=1) for delivery, why in refused]
    for letter in letters:
        assert letter is not None
        scheduler.produced(letter)
    assert scheduler.due_commits()[P0].offset == 0
    for delivery in take_all(scheduler, 1.0):
        scheduler.done(delivery)
    assert scheduler.due_commits()[P0] == (4, "")


def test_a_map_is_believed_at_its_own_offset_alone() -> None:
    """A tool that moves a committed offset and keeps its metadata must not make events count as done: that is a loss."""
    offsets = OffsetMap([(105, 110)], {103: 2})
    text = encode_metadata(100, offsets)
    assert decode_metadata(100, text) == offsets
    for elsewhere in (0, 99, 101, 105):
        with pytest.raises(InvalidOffsetMetadata, match="checksum"):
            decode_metadata(elsewhere, text)


def test_each_changed_character_is_found() -> None:
    """A character of the text that was changed is found, wherever it stands: no wrong map is read."""
    text = encode_metadata(100, OffsetMap([(105, 110), (115, 400)], {103: 2}))
    for index in range(len("dsp1r."), len(text)):
        changed = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        with pytest.raises(InvalidOffsetMetadata):
            decode_metadata(100, changed)
