"""A verdict: figures beside their limits, and the report made of all of them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dispatcher.devkafka import KAFKA_VERSION

__all__ = ["Figure", "Verdict", "write_report"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, and what was promised of it."""

    what: str
    measured: float
    promise: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.measured:,.4g} ({self.promise})"


@dataclass(slots=True)
class Verdict:
    """What one run of one probe came to.

    Args:
        row: the workload and the fault, as the documentation names them.
        arm: ``"dispatch"``, or the mutant or the setting that must turn the probe red.
    """

    row: str
    arm: str = "dispatch"
    figures: list[Figure] = field(default_factory=list)

    def equal(self, what: str, measured: float, expected: float) -> None:
        """It is this and nothing else."""
        self.figures.append(Figure(what, measured, f"= {expected:,g}", measured == expected))

    def at_most(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        """It is not more."""
        self.figures.append(Figure(what, measured, f"≤ {limit:,g}{' ' + unit if unit else ''}", measured <= limit))

    def at_least(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        """It is not less."""
        self.figures.append(Figure(what, measured, f"≥ {limit:,g}{' ' + unit if unit else ''}", measured >= limit))

    def observe(self, what: str, measured: float, unit: str = "") -> None:
        """Reported, and judged by nobody."""
        self.figures.append(Figure(what, measured, f"observed{', ' + unit if unit else ''}", holds=True))

    @property
    def broken(self) -> list[str]:
        """What did not hold."""
        return [figure.what for figure in self.figures if not figure.holds]

    def must_hold(self) -> None:
        """Fail the test, with all figures, when a promise is broken."""
        assert not self.broken, "\n".join([f"{self.row}: broken", *map(str, self.figures)])

    def must_break(self, *what: str) -> None:
        """Fail the test when this control arm passes: then the probe sees nothing. One of ``what`` must be broken."""
        assert set(what) & set(self.broken), "\n".join(
            [f"{self.row}: the arm {self.arm!r} should break one of {', '.join(what)}", *map(str, self.figures)]
        )


def write_report(verdicts: Iterable[Verdict], folder: Path, **about: Any) -> None:
    """Write ``faults.json`` and ``faults.md`` into the folder."""
    every = list(verdicts)
    folder.mkdir(parents=True, exist_ok=True)
    document = {**about, **_surroundings(), "verdicts": [{**asdict(each), "holds": not each.broken} for each in every]}
    (folder / "faults.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "faults.md").write_text("\n".join(_table(every)) + "\n")


def _surroundings() -> dict[str, Any]:
    """When it was, on what machine, with which versions: a figure without them says nothing."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "versions": {
            "Dispatch": version("dispatch-runtime"),
            "Apache Kafka": "another" if os.environ.get("KAFKA_BOOTSTRAP_SERVERS") else KAFKA_VERSION,
            "aiokafka": version("aiokafka"),
            "Python": platform.python_version(),
        },
    }


def _table(verdicts: list[Verdict]) -> list[str]:
    controls: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.arm != "dispatch":
            controls.setdefault(verdict.row, []).append(verdict)
    lines = ["| workload and fault | measured (promised) | the control arm that fails it |", "| --- | --- | --- |"]
    for verdict in verdicts:
        if verdict.arm != "dispatch":
            continue
        figures = "<br>".join(f"{'' if figure.holds else '**BROKEN** '}{figure}" for figure in verdict.figures)
        red = "<br>".join(
            f"{each.arm}: " + "; ".join(str(figure) for figure in each.figures if not figure.holds)
            for each in controls.get(verdict.row, [])
        )
        lines.append(f"| {verdict.row} | {figures} | {red or '-'} |")
    return lines
