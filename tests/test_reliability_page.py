"""The measured figures of docs/reliability.md: whole, of a full run, and made from its report alone."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from scripts.make_reliability_page import PAGE, page

REPORT: dict[str, Any] = {
    "size": "full",
    "seconds": 3_000,
    "date": "2026-01-31",
    "system": "Linux",
    "machine": "x86_64",
    "cores": 2,
    "memory_gib": 8,
    "versions": {"Dispatch": "1.0", "Apache Kafka": "4.1", "aiokafka": "0.14", "Python": "3.11"},
    "verdicts": [
        {
            "row": "kill | restart",
            "arm": "dispatch",
            "holds": True,
            "figures": [
                {"what": "events", "measured": 12_345, "promise": "≤ 20,000", "holds": True},
                {"what": "all came", "measured": True, "promise": "= 1", "holds": True},
                {"what": "silence", "measured": 1.23456, "promise": "≤ 30 s", "holds": True},
            ],
        },
        {
            "row": "kill | restart",
            "arm": "no_commit",
            "holds": False,
            "figures": [{"what": "events", "measured": float("inf"), "promise": "≤ 20,000", "holds": False}],
        },
    ],
}
MARKED = "before\n<!-- faults -->\nold\n<!-- end -->\nafter\n"


def rows(text: str) -> list[list[str]]:
    """The cells of the table between the marks, heading and rule left out."""
    section = re.search(r"<!-- faults -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert section is not None
    table = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def test_the_page_names_its_machine_its_versions_and_its_day() -> None:
    """Nobody can judge a figure without them."""
    section = PAGE.read_text().split("<!-- faults -->")[1].split("<!-- end -->")[0]
    assert re.search(
        r"Measured on \d{4}-\d\d-\d\d with Dispatch \S+, Apache Kafka \S+, aiokafka \S+, Python \S+, on one machine"
        r" with \d+ cores and \d+ GiB of memory \(\w+, \w+\)",
        section,
    )


def test_the_table_of_the_page_is_well_formed() -> None:
    """Each row has three cells, and each figure its promise; no row is there twice with the same figures."""
    every = rows(PAGE.read_text())
    assert every
    for row in every:
        assert len(row) == 3, row
        for figure in row[1].split("<br>"):
            assert re.fullmatch(r".+: (yes|no|never|-?[\d.,e+-]+) \(.+\)", figure), figure
        assert "BROKEN" not in "".join(row)
    assert len({tuple(row[:2]) for row in every}) == len(every)


def test_a_report_becomes_a_table() -> None:
    """What stood between the marks is replaced, and the rest of the page stays."""
    written = page(MARKED, REPORT)
    assert written.startswith("before\n<!-- faults -->\n")
    assert written.endswith("<!-- end -->\nafter\n")
    assert "2026-01-31 with Dispatch 1.0, Apache Kafka 4.1, aiokafka 0.14, Python 3.11, on one machine" in written
    assert rows(written) == [
        [
            "kill \\| restart",
            "events: 12,345 (≤ 20,000)<br>all came: yes (= yes)<br>silence: 1.23 (≤ 30 s)",
            "*no_commit*: events: never (≤ 20,000)",
        ]
    ]
    assert page(written, REPORT) == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "smoke"}, "shows a full run"),
        ({"holds": (0, False)}, "promises were broken"),
        ({"holds": (1, True)}, "control arms passed"),
    ],
)
def test_a_report_that_proves_less_is_refused(change: dict[str, Any], message: str) -> None:
    """A smaller run, a broken promise and a control arm that passed never reach the page."""
    report = copy.deepcopy(REPORT)
    if "holds" in change:
        at, holds = change["holds"]
        report["verdicts"][at]["holds"] = holds
    else:
        report.update(change)
    with pytest.raises(ValueError, match=message):
        page(MARKED, report)


def test_a_page_without_its_place_is_refused() -> None:
    """The figures would be lost in silence."""
    with pytest.raises(ValueError, match="one place for the figures"):
        page("no marks", REPORT)
