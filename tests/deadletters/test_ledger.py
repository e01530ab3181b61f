"""Which dead letters are resolved, against a plain set of offsets."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.record import Committed
from dispatcher.deadletters import Ledger

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=25)


def _resolved(begin: int, spans: list[tuple[int, int]]) -> tuple[Ledger, set[int]]:
    ledger, model = Ledger(begin), set(range(begin))
    for start, length in spans:
        ledger.resolve(start, start + length)
        model |= set(range(start, start + length))
    return ledger, model


@given(st.integers(0, 10), SPANS)
def test_a_ledger_is_a_set_of_offsets(begin: int, spans: list[tuple[int, int]]) -> None:
    """Whatever is resolved in whatever order: exactly that is, and the position is the lowest that is not."""
    ledger, model = _resolved(begin, spans)
    assert [offset for offset in range(80) if ledger.is_resolved(offset)] == sorted(model)
    assert ledger.position == next(offset for offset in range(100) if offset not in model)


@given(st.integers(0, 10), SPANS)
def test_a_commit_brings_a_ledger_back(begin: int, spans: list[tuple[int, int]]) -> None:
    """Another process that reads the commit knows the same letters for resolved."""
    ledger, model = _resolved(begin, spans)
    commit, whole = ledger.commit()
    assert whole
    loaded = Ledger.load(commit, 0)
    assert [offset for offset in range(80) if loaded.is_resolved(offset)] == sorted(model)
    assert loaded.commit() == (commit, True)
    assert ledger.copy().commit() == (commit, True)


def test_what_retention_has_deleted_is_resolved() -> None:
    """A commit from before the log's begin does not hold the position where nothing is any more."""
    ledger = Ledger.load(Committed(3), 10)
    assert (ledger.position, ledger.is_resolved(9), ledger.is_resolved(10)) == (10, True, False)
    assert Ledger.load(None, 7).position == 7


def test_a_commit_that_can_not_say_all_says_so() -> None:
    """Too many scattered letters do not fit the metadata, and the ledger does not claim that they did."""
    ledger = Ledger(0)
    rng = random.Random(7)
    for offset in rng.sample(range(1, 100_000), 12_000):
        ledger.resolve(offset)
    commit, whole = ledger.commit()
    assert not whole
    assert len(commit.metadata) <= 4096
