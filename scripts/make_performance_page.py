"""Write the measured figures of docs/performance.md, from the results of ``scripts/bench``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "build" / "bench"
#: Fewer rounds show the machine's mood.
FEWEST_RUNS = 5


def page(text: str, results: Iterable[dict[str, Any]], notes: Mapping[str, str] | None = None) -> str:
    """The page with each group's figures between its marks, ``<!-- bench GROUP -->`` and ``<!-- end -->``.

    A group without results keeps what stands there: a part may be measured alone. The text around the marks is written by hand.

    Args:
        text: the page.
        results: in the order of the tables.
        notes: by the name of a bench: what the profile shows where one of its goals is missed.

    Raises:
        ValueError: a result is of a quick run, of too few rounds, or of some arms alone; or the page has no place, or two, for
            a group.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["quick"] or result["only"] or result["runs"] < FEWEST_RUNS:
            raise ValueError(
                f"{result['name']}: the page shows medians of {FEWEST_RUNS} full rounds of all arms: scripts/bench NAME"
            )
        groups.setdefault(result["name"].partition(".")[0], []).append(result)
    for group, those in groups.items():
        marked = re.compile(rf"(<!-- bench {re.escape(group)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = marked.subn(
            lambda match, those=those: f"{match[1]}\n{_said(those, notes or {})}\n{match[2]}", text
        )
        if count != 1:
            raise ValueError(f"{PAGE.name} has one place for {group}, between <!-- bench {group} --> and <!-- end -->")
    return text


def misses(result: dict[str, Any]) -> bool:
    """Whether a goal is missed."""
    return any(goal["holds"] is False for goal in result["goals"])


def _said(results: list[dict[str, Any]], notes: Mapping[str, str]) -> str:
    from benchmarks.report import figures_text, goal_text, judgement, measured_text

    lines = [
        *dict.fromkeys(_where(result) for result in results),
        "",
        "| question | arms (medians) | goal | measured (least to most) | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for result in results:
        arms = [f"*{name}*: {figures_text(figures)}" for name, figures in result["arms"].items()]
        arms += [f"*{name}*: left out ({reason})" for name, reason in result["left_out"].items()]
        question, told = f"`{result['name']}` {result['question']}", "<br>".join(map(_cell, arms))
        for goal in result["goals"]:
            cells = (f"{goal['what']} {goal_text(goal)}", measured_text(goal), judgement(goal))
            lines.append(f"| {_cell(question)} | {told} | {' | '.join(map(_cell, cells))} |")
            question, told = "", ""  # once, though it has several goals
    for result in results:
        if misses(result) and (note := notes.get(result["name"])):
            lines += ["", f"`{result['name']}`: {note}"]
    return "\n".join([*lines, ""])


def _where(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    commit = result["commit"] + (" and changes" if result["changed"] else "")
    return (
        f"Measured on {result['date']} ({commit}) with {versions}, on one machine with {result['cores']} cores"
        f" ({result['processor']}) and {result['memory_gib']} GiB of memory ({result['system']}, {result['machine']});"
        f" medians of {result['runs']} rounds."
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<br>", "\0").replace("<", "&lt;").replace("\0", "<br>")


def main() -> None:
    """Write the page, from the folder that is named, or from the last run's."""
    from benchmarks.catalogue import catalogue

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    notes = {bench.name: bench.note for bench in catalogue()}
    results = [json.loads(file.read_text()) for name in notes if (file := folder / f"{name}.json").exists()]
    PAGE.write_text(page(PAGE.read_text(), results, notes))
    sys.stderr.write(f"wrote {PAGE.relative_to(ROOT)} from {len(results)} results in {folder}\n")
    for result in results:
        if misses(result) and not notes[result["name"]]:
            sys.stderr.write(f"{result['name']} misses a goal, and its bench has no note of what the profile shows\n")


if __name__ == "__main__":
    main()
