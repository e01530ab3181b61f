"""Many events in flight from few partitions, in key order."""

from __future__ import annotations

from benchmarks.bench import Bench

BENCHES: list[Bench] = []
