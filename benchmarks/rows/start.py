"""The first sign of life."""

from __future__ import annotations

from benchmarks.bench import Bench, PythonArm, figure

BENCHES = [
    Bench(
        name="start",
        question="From the start of a process: dispatch run to the first event of an embedded log, dispatch --help to its end",
        arms=[
            PythonArm("dispatch run", "start:run_first_event"),
            PythonArm("dispatch --help", "start:run_command", {"words": ["--help"]}),
            PythonArm("python -c pass", "start:run_command", {"words": ["-c", "pass"]}),
        ],
        goals=[
            figure("dispatch run", "ms", what="dispatch run to the first event", at_most=700.0, unit="ms"),
            figure("dispatch --help", "ms", what="dispatch --help", at_most=150.0, unit="ms"),
        ],
        full={"times": 10},
        quick={"times": 2},
        packages=("pydantic", "click"),
    ),
]
