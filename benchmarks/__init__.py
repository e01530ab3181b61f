"""How fast Dispatch is, measured beside others: ``python -m benchmarks``, or ``scripts/bench``, which installs what it needs.

Every figure is a comparison made in one run on one machine. A :class:`~benchmarks.bench.Bench` asks one question; its arms run
in turn, each in a process of its own; ratios are taken within a round and their median is what counts.
"""
