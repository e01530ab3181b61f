"""What a bench came to, in words: the same in the terminal and on the page."""

from __future__ import annotations

from typing import Any

__all__ = ["figures_text", "goal_text", "judgement", "lines", "measured_text", "number"]


def number(value: float) -> str:
    """Three digits, or more before the point."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3g}"


def goal_text(goal: dict[str, Any]) -> str:
    """The limit."""
    if goal["at_least"] is not None:
        return f"≥ {number(goal['at_least'])} {goal['unit']}".rstrip()
    if goal["at_most"] is not None:
        return f"≤ {number(goal['at_most'])} {goal['unit']}".rstrip()
    return "reported"


def measured_text(goal: dict[str, Any]) -> str:
    """The median, with the least and the most of the rounds, and the same by CPU time."""
    if goal["measured"] is None:
        return f"not measured: {goal['why']}"
    text = f"{number(goal['measured'])} {goal['unit']}".rstrip() + f" ({number(goal['min'])} to {number(goal['max'])})"
    return text + (f", by CPU time {number(goal['by_cpu'])}" if "by_cpu" in goal else "")


def judgement(goal: dict[str, Any]) -> str:
    """Whether the limit is kept, and by how much of it."""
    if goal["holds"] is None:
        return "-"
    limit = goal["at_least"] if goal["at_least"] is not None else goal["at_most"]
    off = abs(goal["measured"] - limit) / limit if limit else 0.0
    return f"{'holds' if goal['holds'] else 'MISSES'}, by {off:.0%}"


#: What stands for a figure's name; others stand as they are, in front of their number.
_WORDS = {
    "rate": "{}/s",
    "cpu_us": "{} us CPU each",
    "peak": "{} in flight",
    "seconds": "{} s",
}


def figures_text(figures: dict[str, dict[str, Any]]) -> str:
    """The medians of an arm's figures."""
    return ", ".join(
        _WORDS.get(name, name.replace("_", " ") + " {}").format(number(values["median"]))
        for name, values in figures.items()
        if name != "events"
    )


def lines(result: dict[str, Any]) -> list[str]:
    """A few lines for the terminal."""
    said = [f"{result['name']}: {result['question']}"]
    said += [f"  {name:>28}  {figures_text(figures)}" for name, figures in result["arms"].items()]
    return said + [
        f"  {goal['what']}: {measured_text(goal)}; goal {goal_text(goal)}: {judgement(goal)}"
        for goal in result["goals"]
    ]
