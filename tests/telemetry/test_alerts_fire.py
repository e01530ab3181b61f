"""The alert rules, evaluated by Prometheus' own promtool: each comes for what it is for, after its time and no sooner, with a
sentence that reads well, and stays away from what is close by. Skipped where there is no promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

RULES = Path(__file__).parent.parent.parent / "docs" / "operations" / "alerts.yml"
PROMTOOL = shutil.which("promtool")
HERE = {"app": "shop", "function": "f", "instance": "a:9464"}
FUNCTION = {"app": "shop", "function": "f"}
AT = HERE | {"stream": "orders", "partition": "3"}


class Case(NamedTuple):
    """A course of things that an alert comes of.

    Attributes:
        alert: which.
        series: what is scraped, minute by minute, in promtool's notation.
        minute: when it fires; it must not a minute before.
        labels: that it has, beside its severity.
        summary: what it says.
        gone: when it has to be over, if the course has an end.
    """

    alert: str
    series: dict[str, str]
    minute: int
    labels: dict[str, str]
    summary: str
    gone: int | None = None


def series(name: str, labels: dict[str, str] = HERE, **more: str) -> str:
    """A series as it is scraped."""
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in (labels | more).items()) + "}"


FIRES = [
    Case(
        "DispatchDown",
        {'up{job="dispatch", instance="a:9464"}': "1 0x4 1x4", 'up{job="node", instance="b"}': "0x9"},
        3, {"job": "dispatch", "instance": "a:9464"}, "a:9464 does not answer", gone=6,
    ),
    Case(
        "DispatchNoProgress", {series("dispatch_no_progress_seconds"): "0+60x6 0"},
        6, HERE, "f has work in hand and has completed nothing for 6m 0s", gone=7,
    ),
    Case(
        "DispatchEventLoopBlocked", {series("dispatch_event_loop_lag_seconds", {"instance": "a:9464"}): "0 5 8 0"},
        2, {"instance": "a:9464"}, "a:9464: something blocks the event loop for 8s", gone=3,
    ),
    Case(
        "DispatchFunctionStopped",
        {series("dispatch_worker_state", state="stopped"): "0 1x5", series("dispatch_worker_state", state="running"): "1 0x5"},
        2, HERE | {"state": "stopped"}, "f has stopped on a:9464",
    ),
    Case(
        "DispatchNotJoined", {series("dispatch_worker_state", state="joining"): "1x8"},
        5, HERE | {"state": "joining"}, "f is in no consumer group on a:9464",
    ),
    Case(
        "DispatchLag",
        {series("dispatch_lag_seconds", AT): "301x8", series("dispatch_lag_seconds", AT, partition="4"): "3x8",
         series("dispatch_paused"): "0x8"},
        5, FUNCTION, "f is 5m 1s behind",
    ),
    Case(
        "DispatchBacklogGrowing",
        {series("dispatch_backlog_events", AT): "9000+60x40",
         series("dispatch_backlog_events", AT, partition="4", instance="b:9464"): "1000+40x40"},
        31, FUNCTION, "the backlog of f has grown for half an hour",
    ),
    Case(
        "DispatchLagUnknown", {series("dispatch_lag_known"): "0x5"},
        2, HERE, "how far f is behind could not be read on a:9464",
    ),
    Case(
        "DispatchEventsSkipped", {series("dispatch_skipped_events_total"): "0 0 3x30"},
        2, HERE, "f has lost events to retention, or skipped corrupt ones", gone=20,
    ),
    Case(
        "DispatchDeadLetters",
        {series("dispatch_dead_letters_total", reason="rejected"): "0 0 2x30",
         series("dispatch_dead_letters_total", reason="attempts"): "0x30"},
        2, FUNCTION | {"reason": "rejected"}, "new dead letters of f: rejected", gone=20,
    ),
    Case(
        "DispatchDeadLettersWait",
        # Each process tells of all of them.
        {series("dispatch_dead_letter_depth_events"): "3x1445",
         series("dispatch_dead_letter_depth_events", instance="b:9464"): "3x1445"},
        1440, FUNCTION, "nobody has dealt with 3 dead letters of f",
    ),
    Case(
        "DispatchErrorRatio",
        {series("faas_errors_total", faas_trigger="pubsub"): "0+20x20",
         series("faas_invocations_total", faas_trigger="pubsub"): "0+80x20"},
        11, FUNCTION, "20% of the calls of f fail",
    ),
    Case(
        "DispatchBreakerOpen",
        {series("dispatch_breaker_state", state="closed"): "0x8", series("dispatch_breaker_state", state="open"): "1 0 1 0 1 0 1",
         series("dispatch_breaker_state", state="probing"): "0 1 0 1 0 1 0"},
        5, FUNCTION, "the target of f takes nothing",
    ),
    Case(
        "DispatchPaused", {series("dispatch_paused"): "1x20", series("dispatch_paused", instance="b:9464"): "0x20"},
        15, FUNCTION, "f is paused",
    ),
    Case(
        "DispatchOffsetMapNearlyFull", {series("dispatch_offset_map_use_ratio", AT): "0.8x8"},
        5, AT, "orders/3 gets no new events for f: one holds its commit back",
    ),
    Case(
        "DispatchRebalancing",
        {series("dispatch_rebalances_total"): "0+1x20", series("dispatch_rebalance_dwell_seconds_total"): "0+1x20"},
        11, FUNCTION, "the group of f does not come to rest",
    ),
    Case(
        "DispatchRebalancing",
        # Few of them that take long: 15 of each 60 seconds.
        {series("dispatch_rebalances_total"): "0x20", series("dispatch_rebalance_dwell_seconds_total"): "0+15x20"},
        13, HERE, "the group of f does not come to rest",
    ),
]  # fmt: skip

#: What is close to an alert and none, for the whole of the time.
QUIET = [
    ("DispatchLag", {series("dispatch_lag_seconds", AT): "900x20", series("dispatch_paused"): "1x20"}),
    ("DispatchLag", {series("dispatch_lag_seconds", AT): "300x20"}),
    ("DispatchBacklogGrowing", {series("dispatch_backlog_events", AT): "20000x60"}),
    ("DispatchBacklogGrowing", {series("dispatch_backlog_events", AT): "100+100x60"}),
    ("DispatchLagUnknown", {series("dispatch_lag_known"): "1 0 1 0 1 0 1"}),
    ("DispatchDeadLettersWait", {series("dispatch_dead_letter_depth_events"): "0x1500"}),
    (
        "DispatchErrorRatio",
        {
            series("faas_errors_total", faas_trigger="pubsub"): "0+9x30",
            series("faas_invocations_total", faas_trigger="pubsub"): "0+91x30",
        },
    ),
    (
        "DispatchErrorRatio",  # of a function that does nothing
        {
            series("faas_errors_total", faas_trigger="pubsub"): "7x30",
            series("faas_invocations_total", faas_trigger="pubsub"): "9x30",
        },
    ),
    ("DispatchOffsetMapNearlyFull", {series("dispatch_offset_map_use_ratio", AT): "0.75x20"}),
    ("DispatchRebalancing", {series("dispatch_rebalances_total"): "0 1 2 3 4 5x20"}),
]


def promtool(*words: str) -> str:
    """Run it; what it says, when it finds no fault."""
    if PROMTOOL is None:
        assert "CI" not in os.environ or not shutil.which("apt-get"), (
            ".ci/run brings promtool, from Prometheus' Debian package"
        )
        pytest.skip("there is no promtool here: it comes with Prometheus")
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules() -> None:
    """As Prometheus reads them at its start, with all that it checks."""
    assert "16 rules found" in promtool("check", "rules", str(RULES))


def test_each_alert_comes_when_it_should(tmp_path: Path) -> None:
    """Each rule fires in the minute that its threshold and its time say, not in the one before, with labels and a sentence; is over
    when its cause is; and stays quiet at the threshold, of what is paused, of what stands still."""
    rules = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    assert {case.alert for case in FIRES} == rules.keys()
    tests: list[dict[str, Any]] = []
    for case in FIRES:
        rule = rules[case.alert]
        labels = case.labels | rule["labels"]
        annotations = {"summary": case.summary, "runbook": rule["annotations"]["runbook"]}
        expected = [{"exp_labels": labels, "exp_annotations": annotations}]
        looks = [(case.minute - 1, []), (case.minute, expected)]
        looks += [] if case.gone is None else [(case.gone, [])]
        tests.append(course(case.series, [look(case.alert, minute, alerts) for minute, alerts in looks]))
    for alert, given in QUIET:
        minutes = 1500 if "1500" in str(given) else 60
        tests.append(course(given, [look(alert, minute, []) for minute in range(0, minutes, minutes // 20)]))
    written = tmp_path / "alerts_test.yml"
    written.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(written))


def course(given: dict[str, str], looks: list[dict[str, Any]]) -> dict[str, Any]:
    """A test of promtool's."""
    scraped = [{"series": name, "values": values} for name, values in given.items()]
    return {"interval": "1m", "input_series": scraped, "alert_rule_test": looks}


def look(alert: str, minute: int, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """What is to be there at that minute."""
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}
