"""``dispatch check``: each mistake is found before the first event, with its mend."""

from __future__ import annotations

from typing import Any

import pytest

HEAD = "from bindings import Batch, Context, DeadLetter, Event, Limits, Retry, on_stream\n"


def findings(dispatch: Any, code: str, *words: str) -> tuple[int, list[dict[str, str]]]:
    """The exit code and the findings for a file with that code."""
    dispatch.write("app.py", HEAD + code)
    done = dispatch("check", "app.py", "--json", *words)
    assert "Traceback" not in done.stderr
    return done.code, done.json


@pytest.mark.parametrize(
    ("code", "severity", "message", "mend"),
    [
        ('@on_stream("a", where="value.total >")\ndef f(e: dict) -> None: ...', "error", "column 14", "where="),
        ('@on_stream("a", where="value.total")\ndef f(e: dict) -> None: ...', "error", "not true or false", "where="),
        ('@on_stream("a")\ndef f(e: dict) -> dict: ...', "error", "annotated to return", "emits="),
        ('@on_stream("a", emits="b")\ndef f(e: dict) -> None: ...', "warning", "returns nothing", "leave out emits"),
        ('@on_stream("a", emits="a")\ndef f(e: dict) -> dict: ...', "warning", "comes back", "another emits"),
        (
            '@on_stream("a", "b", dead_letter="b")\ndef f(e: dict) -> None: ...',
            "error",
            "b",
            "",
        ),
        (
            (
                '@on_stream("a", dead_letter="b")\ndef f(e: dict) -> None: ...\n'
                '@on_stream("b", dead_letter="a")\ndef g(e: dict) -> None: ...'
            ),
            "error",
            "come back to it by g",
            "dead_letter=",
        ),
        (
            '@on_stream("a")\ndef f(e: dict) -> None: ...\n@on_stream("a.f.dead")\ndef g(e: dict) -> None: ...',
            "warning",
            "which g consumes",
            "if that is meant",
        ),
        (
            '@on_stream("a", retry=Retry(topic_after=5))\ndef f(e: dict) -> None: ...',
            "warning",
            "topic_after has no effect",
            'order="none"',
        ),
        (
            (
                '@on_stream("a", batch=Batch(max_events=50), limits=Limits(held_events=10))\n'
                "def f(e: list[dict]) -> None: ..."
            ),
            "warning",
            "never full",
            "held_events=50",
        ),
        (
            f'@on_stream("{"s" * 240}")\ndef function_with_a_name(e: dict) -> None: ...',
            "error",
            "249",
            "",
        ),
        ("@on_stream\ndef f(e: dict) -> None: ...", "error", "parentheses", ""),
        ('@on_stream("a")\ndef f() -> None: ...', "error", "f", ""),
        ("import nowhere_at_all", "error", "nowhere_at_all", ""),
        (
            (
                '@on_stream("a", name="x")\ndef f(e: dict) -> None: ...\n'
                '@on_stream("a", name="x")\ndef g(e: dict) -> None: ...'
            ),
            "error",
            "x",
            "",
        ),
    ],
)
def test_a_mistake_is_found_with_its_mend(dispatch: Any, code: str, severity: str, message: str, mend: str) -> None:
    """The finding has the severity that it deserves, says what is wrong and what to do; errors exit 1."""
    exit_code, found = findings(dispatch, code, "--offline")
    assert any(f["severity"] == severity and message in f["message"] and mend in f["mend"] for f in found), found
    assert exit_code == (1 if severity == "error" else 0)


def test_a_sound_app_has_no_findings(dispatch: Any) -> None:
    """The control: good functions on streams that are there pass, in silence on stdout."""
    dispatch("streams", "create", "orders")
    code = (
        '@on_stream("orders", emits="results", where="value.total > 1.0")\ndef f(e: dict) -> dict: return e\n'
        '@on_stream("orders", emits="notes")\ndef g(e: list[Event[dict]], context: Context) -> None: ...'
    )
    assert findings(dispatch, code) == (0, [])
    plain = dispatch("check", "app.py")
    assert (plain.code, plain.stdout) == (0, "")
    assert "2 functions, 0 errors, 0 warnings" in plain.stderr


def test_a_missing_stream_is_found_with_the_command_that_makes_it(dispatch: Any) -> None:
    """On the embedded log it is a warning, since the first send makes the stream; and a check makes nothing."""
    exit_code, [finding] = findings(dispatch, '@on_stream("orders")\ndef f(e: dict) -> None: ...')
    assert (exit_code, finding["severity"]) == (0, "warning")
    assert "dispatch streams create orders --partitions 4" in finding["mend"]
    assert not (dispatch.folder / ".dispatch").exists()


def test_a_broker_that_is_not_there_is_a_finding(dispatch: Any) -> None:
    """An outage is an error beside the others, and does not hide them."""
    exit_code, found = findings(
        dispatch, '@on_stream("a", where="(")\ndef f(e: dict) -> None: ...', "--broker", "kafka://127.0.0.1:1"
    )
    assert exit_code == 1
    assert [finding["severity"] for finding in found] == ["error", "error"]
    assert any("127.0.0.1:1" in finding["message"] for finding in found)


def test_one_file_that_does_not_import_hides_nothing_in_another(dispatch: Any) -> None:
    """Each target is looked at by itself."""
    dispatch.write("broken.py", "1 / 0")
    dispatch.write("app.py", HEAD + '@on_stream("a")\ndef f(e: dict) -> dict: ...')
    done = dispatch("check", "broken.py", "app.py", "--offline")
    assert done.code == 1
    assert "ZeroDivisionError" in done.stdout
    assert "annotated to return" in done.stdout
    assert done.stdout.count("mend:") == 2


def test_a_batch_function_may_return_what_failed_without_an_output_stream(dispatch: Any) -> None:
    """A dict returned by a batch function may be batchItemFailures: that is no result without a stream."""
    dispatch.write(
        "app.py", 'from bindings import on_stream\n@on_stream("a")\ndef f(o: list[dict]) -> dict: return {}\n'
    )
    done = dispatch("check", "app.py", "--offline")
    assert done.code == 0
    assert "annotated to return" not in done.stdout
