"""Write the measured figures of docs/reliability.md, from the report of ``scripts/faults full``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
REPORT = ROOT / "build" / "faults" / "faults.json"

_MARKED = re.compile(r"(<!-- faults -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, report: dict[str, Any]) -> str:
    """The page with the report's figures between its marks.

    Raises:
        ValueError: the report is of a smaller run than the page promises, of a promise that was broken, or of a control
            arm that passed; or the page has no marks.
    """
    if report["size"] != "full":
        raise ValueError(f"the page shows a full run, and this is a {report['size']} one: scripts/faults full")
    if broken := [each["row"] for each in report["verdicts"] if each["arm"] == "dispatch" and not each["holds"]]:
        raise ValueError(f"promises were broken: {'; '.join(broken)}")
    if passed := [f"{each['row']} ({each['arm']})" for each in report["verdicts"] if _is_blind(each)]:
        raise ValueError(f"control arms passed: {'; '.join(passed)}")
    replaced, count = _MARKED.subn(lambda match: f"{match[1]}\n{_said(report)}\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{PAGE.name} has one place for the figures, between <!-- faults --> and <!-- end -->")
    return replaced


def _is_blind(verdict: dict[str, Any]) -> bool:
    return verdict["arm"] != "dispatch" and bool(verdict["holds"])


def _said(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    where = f"one machine with {report['cores']} cores and {report['memory_gib']} GiB of memory"
    said = (
        f"Measured on {report['date']} with {versions}, on {where} ({report['system']}, {report['machine']}), with Kafka"
        f" and all processes on it, in {report['seconds'] / 60:.0f} minutes."
    )
    lines = [
        said,
        "",
        "| workload and fault | measured (promised) | what the probe says without that part |",
        "| --- | --- | --- |",
    ]
    controls: dict[str, list[str]] = {}
    for verdict in report["verdicts"]:
        if verdict["arm"] != "dispatch":
            red = "; ".join(_figure(figure) for figure in verdict["figures"] if not figure["holds"])
            controls.setdefault(verdict["row"], []).append(f"*{_cell(verdict['arm'])}*: {red}")
    told: set[str] = set()
    for verdict in report["verdicts"]:
        if verdict["arm"] == "dispatch":
            figures = "<br>".join(_figure(figure) for figure in verdict["figures"])
            # The arms of a row are told once, though the row be measured several times.
            arms = controls.get(verdict["row"], [])
            red_arms = "as above" if verdict["row"] in told else "<br>".join(arms) or "-"
            told.add(verdict["row"])
            lines.append(f"| {_cell(verdict['row'])} | {figures} | {red_arms} |")
    return "\n".join([*lines, ""])


def _figure(figure: dict[str, Any]) -> str:
    measured, promise = figure["measured"], figure["promise"]
    if isinstance(measured, bool):
        promise = {"= 1": "= yes", "= 0": "= no"}.get(promise, promise)
    return f"{_cell(figure['what'])}: {_number(measured)} ({_cell(promise)})"


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == float("inf"):
        return "never"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def main() -> None:
    """Write the page, from the report that is named, or from the last full run's."""
    report = Path(sys.argv[1]) if len(sys.argv) > 1 else REPORT
    PAGE.write_text(page(PAGE.read_text(), json.loads(report.read_text())))
    sys.stderr.write(f"wrote {PAGE.relative_to(ROOT)} from {report}\n")


if __name__ == "__main__":
    main()
