"""Pause and resume reach real processes, on either broker: two at once, through kills and restarts."""

from __future__ import annotations

import pytest
from command_line import Running

from tests.control.conftest import App

pytestmark = pytest.mark.timeout(240)

# A start takes 1.5 s, a rebalance of a real cluster 3 s, and the machine may be busy.
PATIENCE = 60


def all_said(processes: list[Running], pattern: str) -> bool:
    """Whether each process has said it."""
    return all(each.said(pattern) for each in processes)


def wait(processes: list[Running], true: object, what: str) -> None:
    """Wait while the processes run."""
    assert callable(true)
    processes[0].until(true, what, PATIENCE)


def test_a_paused_function_starts_nothing_in_any_process_and_resumes_where_it_was(app: App) -> None:
    """Two processes hold a function's events in flight when it is paused: these end, nothing new starts, it stays in its
    group, another function goes on; resumed, it handles each other event exactly once."""
    both = app.start(2)
    wait(both, lambda: app.status("slow")["members"] == 2, "both in the group")
    wait(both, lambda: all_said(both, "slow: running"), "both to have partitions")
    app.send(40)
    wait(
        both,
        lambda: len(app.journal("slow", by=[both[0]])) == len(app.journal("slow", by=[both[1]])) == 2,
        "4 in flight",
    )

    app("functions", "pause", "slow", "app.py", "--as", "ops", "--reason", "the target moves")
    wait(both, lambda: all_said(both, "slow is paused by ops: the target moves"), "both to hear of it")
    app.dispatch.write("go", "")
    app.send(40)
    wait(both, lambda: len(app.journal("other")) == 80, "the other function to go on")
    wait(both, lambda: len(app.journal("slow", "end")) == 4, "what is in flight to end")
    wait(both, lambda: app.status("slow")["lag"] == 76, "the commit")
    status = app.status("slow")
    assert (status["state"], status["members"], status["in_flight"]) == ("paused", 2, 0)
    assert (status["control"]["by"], status["control"]["reason"]) == ("ops", "the target moves")
    assert app.status("other")["state"] == "running"
    assert len(app.journal("slow")) == 4

    app("functions", "resume", "slow", "app.py")
    wait(both, lambda: len(app.journal("slow", "end")) == 80, "the rest")
    wait(both, lambda: app.status("slow")["lag"] == 0, "the commits")
    assert set(app.journal("slow").values()) == {1}
    assert app.status("slow")["state"] == "running"
    assert all_said(both, "slow is resumed by")


def test_a_paused_function_delivers_nothing_after_a_kill_and_a_restart(app: App) -> None:
    """Paused while nothing runs, then two processes, kill -9, two more: not one event is delivered before the resume, while the
    other function handles all; then each is."""
    app.dispatch.write("go", "")
    app.send(20)
    app("functions", "pause", "slow", "app.py")
    assert app.status("slow")["state"] == "paused"
    first = app.start(2, "slow", "other")
    wait(first, lambda: len(app.journal("other")) == 20, "the other function")
    wait(first, lambda: all_said(first, "slow is paused by"), "both to know")
    app.kill(first)
    app.send(20)
    second = app.start(2, "slow", "other")
    wait(second, lambda: len(app.journal("other")) == 40, "the other function again")
    wait(second, lambda: app.status("slow")["members"] == 2, "both in the group")
    assert all_said(second, "slow is paused by")
    assert app.journal("slow") == {}
    app("functions", "resume", "slow", "app.py")
    wait(second, lambda: len(app.journal("slow", "end")) == 40, "all")
    assert set(app.journal("slow").values()) == {1}


def test_a_function_that_pauses_itself_waits_everywhere_until_it_is_resumed(app: App) -> None:
    """When an event's attempts are used up in one process, the other pauses too; kill -9 and a restart change nothing;
    resumed while nothing runs, the event gets all its attempts again, no more; mended, everything is handled."""
    both = app.start(2, "strict", "other")
    wait(both, lambda: app.status("strict")["members"] == 2, "both in the group")
    wait(both, lambda: all_said(both, "strict: running"), "both to have partitions")
    app.send(12)
    wait(both, lambda: all_said(both, r"strict (has paused|is paused by itself)"), "both to pause")
    assert sum(each.said("strict has paused") for each in both) == 1
    assert app.journal("strict")[7] == 3
    wait(both, lambda: app.status("strict")["parked"] == 1, "its attempts in the commit")
    status = app.status("strict")
    parked = [(each["partition"], each["parked"][0]) for each in status["partitions"] if each["parked"]]
    event = status["control"]["event"]
    assert parked == [(event["partition"], {"offset": event["offset"], "attempts": 3})]
    assert (status["state"], event["stream"], event["error_type"]) == ("paused", app.stream, "ValueError")
    handled = len(app.journal("strict", "end"))
    app.kill(both)

    app.send(8)
    again = app.start(1, "strict", "other")
    wait(again, lambda: len(app.journal("other")) == 20, "the other function")
    assert all_said(again, "strict is paused by itself .*: seven is bad")
    assert app.journal("strict", by=again) == {}
    app.kill(again)

    assert app.status("strict")["state"] == "paused"
    app("functions", "resume", "strict", "app.py", "--reason", "try")
    third = app.start(1, "strict")
    wait(third, lambda: all_said(third, "strict has paused"), "it to pause again")
    assert app.journal("strict")[7] == 6
    app.dispatch.write("healed", "")
    wait(third, lambda: app.status("strict")["state"] == "paused", "the state")
    app("functions", "resume", "strict", "app.py", "--reason", "mended")
    wait(third, lambda: len(app.journal("strict", "end")) == 20, "the rest")
    assert handled < 20
    assert app.journal("strict")[7] == 7
    assert set(app.journal("strict", "end").values()) == {1}
    story = [
        (each["action"], each["reason"]) for each in app("functions", "history", "strict", "app.py", "--json").json
    ]
    assert story == [("pause", None), ("resume", "try"), ("pause", None), ("resume", "mended")]


def test_processes_hear_of_it_within_about_a_second(embedded_app: App) -> None:
    """From the command's end to the process's word it takes about a second: three times that on a busy machine."""
    app = embedded_app
    app.send(1)
    [one] = app.start(1, "other")
    one.until(lambda: len(app.journal("other")) == 1, "the event", PATIENCE)
    for action in ("paused", "resumed", "paused"):
        words = f"other is {action} by"
        before = one.stderr.count(words)
        app("functions", {"paused": "pause", "resumed": "resume"}[action], "other", "app.py")
        one.until(lambda: one.stderr.count(words) > before, action, 3)  # noqa: B023 - called here
