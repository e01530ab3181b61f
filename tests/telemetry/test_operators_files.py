"""The files for operators: what they name exists, what they ask parses, and no alert is without an entry in the run book."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import promql_parser
import pytest
import yaml

from dispatcher.cli import cli
from dispatcher.telemetry.catalogue import METRICS

DOCS = Path(__file__).parent.parent.parent / "docs" / "operations"
RULES = [rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DOCS / "dashboard.json").read_text())
#: What the scraper and the operating system tell.
FOREIGN = {"up": {"job", "instance"}, "process_resident_memory_bytes": {"instance"}}


def panels() -> Iterator[Any]:
    """The panels that show something."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> dict[str, str]:
    """Every query of both files, by where it is, as Prometheus gets it."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
    for panel in panels():
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$app", ".*").replace("$function", ".*")
            found[f"panel {panel['title']} {target['refId']}"] = expr
    return found


def series(expr: str) -> list[tuple[str, set[str], list[str]]]:
    """The metrics that an expression reads: name, labels that it selects by, values that it selects by equality or choice."""
    found = []
    for name, _, matchers in re.findall(r"\b([a-z_:][a-z0-9_:]*)(\{([^}]*)\})?(?=[\s\[\])]|$)", expr):
        if name in METRICS or name in FOREIGN or name.startswith(("dispatch_", "faas_", "messaging_", "process_")):
            pairs = re.findall(r'(\w+)\s*=~?\s*"([^"]*)"', matchers)
            found.append((name, {label for label, _ in pairs}, [value for _, value in pairs]))
    return found


def labels_of(name: str) -> set[str] | None:
    """The labels of a metric as it is scraped; None when there is no such series."""
    if name in FOREIGN:
        return FOREIGN[name]
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    for known, is_histogram in ((name, False), (base, True)):
        if known in METRICS and (METRICS[known].kind == "histogram") is is_histogram:
            return {*METRICS[known].labels, "instance", "job", *(["le"] if name.endswith("_bucket") else [])}
    return None


@pytest.mark.parametrize(("where", "expr"), queries().items(), ids=str)
def test_every_query_parses_and_reads_what_there_is(where: str, expr: str) -> None:
    """Prometheus' grammar takes it; each metric in it is one that a scrape has, each label by which it selects or groups one that
    this metric has, and counters are looked at as rates."""
    promql_parser.parse(expr)
    read = series(expr)
    assert read, "it reads nothing of ours"
    grouped = {label.strip() for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr) for label in labels.split(",")}
    for name, selected, _ in read:
        labels = labels_of(name)
        assert labels is not None, name
        assert selected <= labels, name
        assert grouped <= labels | {"instance"}, name
        if name.endswith("_total"):
            assert re.search(rf"(rate|increase)\({name}\b", expr), name


def test_the_values_that_are_selected_exist() -> None:
    """A state that an alert waits for is one that there is: a misspelt one would never come."""
    from typing import get_args

    from dispatcher.telemetry.metrics import State

    states = {*get_args(State), "closed", "open", "probing"}
    chosen = re.findall(r'\bstate=~?"([^"]*)"', " ".join(queries().values()))
    assert chosen
    assert {value for each in chosen for value in each.split("|")} <= states


def test_the_parser_refuses_what_is_no_query() -> None:
    """The check above can fail: an unclosed bracket, a range where there may be none, a name that no scrape has."""
    for wrong in ("sum(rate(x[5m])", "rate(dispatch_commits_total)", "dispatch_lag_seconds >"):
        with pytest.raises(ValueError, match=r"."):
            promql_parser.parse(wrong)
    assert labels_of("dispatch_lag_second") is None
    assert labels_of("dispatch_lag_seconds_bucket") is None
    assert series("max(dispatch_lag_second)") == [("dispatch_lag_second", set(), [])]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a sentence with labels that its expression leaves, and an entry in the run book under its own name."""
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["runbook"] == f"runbook.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in (DOCS / "runbook.md").read_text()
    promql_parser.parse_duration(rule.get("for", "1m"))
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = re.match(r"\s*\w+ by \(([^)]*)\)", rule["expr"]) or re.match(r"\w+\(\w+ by \(([^)]*)\)", rule["expr"])
    if kept:
        assert used <= {label.strip() for label in kept[1].split(",")}
    else:
        assert used <= (labels_of(series(rule["expr"])[0][0]) or set())


def test_the_run_book_has_no_entry_too_many() -> None:
    """What it tells of is an alert."""
    entries = re.findall(r"^## (\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert entries == sorted(set(entries), key=entries.index)
    assert set(entries) == {rule["alert"] for rule in RULES}


def commands(page: str) -> Iterator[list[str]]:
    """What a page has typed, and what it names in passing."""
    text = (DOCS / page).read_text()
    typed = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    for line in [*typed, *re.findall(r"`(dispatch [^`]+)`", text)]:
        words = [word for word in shlex.split(line) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
        if words[0] == "dispatch":
            yield words[1:]


@pytest.mark.parametrize("page", ["runbook.md", "metrics.md", "health.md"])
def test_every_command_in_the_pages_exists(page: str) -> None:
    """Each is one that the command line takes: its name, its options, its arguments."""
    found = list(commands(page))
    assert found
    for words in found:
        context, command, rest = click.Context(cli, info_name="dispatch"), cli, words
        while isinstance(command, click.Group):
            name, resolved, rest = command.resolve_command(context, rest)
            assert resolved is not None
            command = resolved
            context = click.Context(command, parent=context, info_name=name)
        command.make_parser(context).parse_args(list(rest))


def test_every_metric_is_documented() -> None:
    """The page's table has each metric and no other, with its type, unit, labels and what it tells; and to each what to do."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(METRICS)
    for name, row in rows:
        kind, unit, labels, text, mend = (cell.strip() for cell in row.split(" | "))
        metric = METRICS[name]
        assert (kind, unit, text) == (metric.kind, metric.unit or "0, 1", metric.text), name
        assert re.findall(r"`(\w+)`", labels) == list(metric.labels), name
        assert mend, name
    anchors = {f"runbook.md#{rule['alert'].lower()}" for rule in RULES}
    linked = set(re.findall(r"runbook\.md#\w+", (DOCS / "metrics.md").read_text()))
    assert linked <= anchors


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Panels do not overlap, ids are their own, every query goes to the chosen data source, and every metric of the catalogue that
    a function has is shown somewhere."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {"${datasource}"}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for expr in queries().values() for name, _, _ in series(expr)}
    assert METRICS.keys() - shown == set()
