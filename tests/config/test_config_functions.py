"""What a configuration says of functions: in place of their code, with the same checks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import shop_functions

from bindings import Batch, Binding, DeadLetter, Limits, bindings_of
from dispatcher.config.configuration import load
from dispatcher.config.functions import Function, configured
from dispatcher.errors import ConfigurationError

Write = Callable[..., Path]


@pytest.fixture
def declared() -> list[Binding]:
    """Two functions as their code declares them."""
    return [*bindings_of(shop_functions.check_limit), *bindings_of(shop_functions.count)]


def applied(declared: list[Binding], *, whole: bool = True) -> dict[str, Function]:
    """The functions as they run."""
    return {function.binding.name: function for function in configured(declared, load(), whole=whole)}


def test_every_policy_can_be_overridden(write: Write, declared: list[Binding]) -> None:
    """Each one, and each value of a policy by itself; what is not named stays as the code has it."""
    write("""[functions.check_limit]
streams = ["orders", "returns"]
order = "none"
concurrency = 2
timeout = 3
rate = "none"
where = "none"
emits = "other"
dead_letter = "letters"
start = 2026-01-01T00:00:00Z
[functions.check_limit.batch]
max_bytes = 10
[functions.check_limit.retry]
max_attempts = 7
max_age = 60
retry_on = ["ValueError", "shop_functions:OutOfStock"]
give_up_on = ["KeyError"]
then = "pause"
[functions.check_limit.limits]
held_events = 9
[functions.Count-Orders]
batch = { max_events = 20, group_by = "key" }
dead_letter = "none"
""")
    before = declared[0]
    functions = applied(declared)
    binding = functions["check_limit"].binding
    assert binding == replace(
        before,
        streams=("orders", "returns"),
        order="none",
        concurrency=2,
        timeout=3.0,
        rate=None,
        where=None,
        emits="other",
        dead_letter=DeadLetter(stream="letters"),
        start=datetime(2026, 1, 1, tzinfo=UTC),
        batch=Batch(max_bytes=10),
        limits=Limits(held_events=9, held_bytes=before.limits.held_bytes),
        retry=replace(
            before.retry,
            max_attempts=7,
            max_age=60.0,
            retry_on=(ValueError, shop_functions.OutOfStock),
            give_up_on=(KeyError,),
            then="pause",
        ),
    )
    assert binding.retry.initial == 2.0
    assert declared[0] is before
    assert before.retry.max_attempts == 3
    counting = functions["Count-Orders"].binding
    assert counting.batch == Batch(max_events=20, group_by="key")
    assert counting.dead_letter_topic("orders") == "orders.Count-Orders.dead"


def test_what_is_not_named_stays_as_it_is(declared: list[Binding]) -> None:
    """Without a word the bindings are the very same objects."""
    assert [function.binding for function in configured(declared, load())] == declared
    assert {function.target_name for function in configured(declared, load())} == {"local"}


def test_each_value_says_where_it_is_from(write: Write, declared: list[Binding]) -> None:
    """The decorator's place, the file's line, or neither: then it is the default."""
    write("[functions.check_limit]\nretry = {initial = 4}\n")
    origins = applied(declared)["check_limit"].origins
    code = f"{shop_functions.__file__}:{shop_functions.check_limit.__code__.co_firstlineno}"
    assert str(origins["retry", "max_attempts"]) == code
    assert str(origins["retry", "initial"]) == "dispatch.toml:2"
    assert str(origins[("rate",)]) == code
    assert ("timeout",) not in origins


def test_wrong_overrides_are_told_together_as_the_code_would(write: Write, declared: list[Binding]) -> None:
    """What only the whole binding can tell: a batch for a function that takes one event, dead letters into the source."""
    write("""[functions.check_limit]
batch = { max_events = 5 }
dead_letter = "orders"
timeout = 1
[functions.Count-Orders]
streams = ["dead"]
retry.retry_on = ["shop_functions:Nope"]
""")
    with pytest.raises(ConfigurationError) as raised:
        applied(declared)
    said = str(raised.value)
    assert said.startswith("4 settings are wrong:")
    assert "dispatch.toml:2: functions.check_limit.batch: Batch(max_events=5) hands over a list: annotate order" in said
    assert (
        "dispatch.toml:3: functions.check_limit.dead_letter: the dead letters of 'orders' would go to 'orders'" in said
    )
    assert "dispatch.toml:6: functions.Count-Orders.streams: the dead letters of 'dead' would go to 'dead'" in said
    assert "dispatch.toml:7: functions.Count-Orders.retry: 'shop_functions:Nope' is no exception" in said
    assert "timeout" not in said


def test_options_that_only_clash_together_are_told(write: Write, declared: list[Binding]) -> None:
    """Each is right by itself, and right with the other's former value."""
    write('[functions.check_limit]\nstreams = ["letters"]\ndead_letter = "letters"\n')
    with pytest.raises(ConfigurationError, match=r"functions\.check_limit: the dead letters of 'letters' would go to"):
        applied(declared)


def test_the_name_of_no_function_is_an_error(write: Write, declared: list[Binding]) -> None:
    """With the nearest one; but not when only a part of the app was named, which may hold it or not."""
    write("[functions.check_limits]\ntimeout = 1\n")
    with pytest.raises(ConfigurationError, match=r"dispatch\.toml:1: .*no such function; did you mean check_limit\?"):
        applied(declared)
    assert set(applied(declared, whole=False)) == {"check_limit", "Count-Orders"}


def test_a_variable_finds_a_name_with_capitals_and_dashes(
    declared: list[Binding], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables have neither; the function is found all the same."""
    monkeypatch.setenv("DISPATCH_FUNCTIONS__COUNT_ORDERS__TIMEOUT", "3")
    assert applied(declared)["Count-Orders"].binding.timeout == 3.0


def test_a_function_is_bound_in_the_configuration_alone(write: Write, declared: list[Binding]) -> None:
    """With the policies that the code would give it by default, and those that are said; and only in the whole app."""
    write('[functions.legacy]\nfunction = "shop_functions:undecorated"\nstreams = ["a", "b"]\nconcurrency = 3\n')
    legacy = applied(declared)["legacy"].binding
    assert (legacy.name, legacy.streams, legacy.concurrency) == ("legacy", ("a", "b"), 3)
    assert legacy.function is shop_functions.undecorated
    assert legacy.batch == Batch(max_events=100, max_wait=0.5)
    assert bindings_of(shop_functions.undecorated) == ()
    assert "legacy" not in applied(declared, whole=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('function = "shop_functions:undecorated"', "it consumes no stream"),
        ('function = "shop_functions:undecorate"\nstreams = ["a"]', r"no undecorate; did you mean undecorated\?"),
        ('function = "no_such_module:f"\nstreams = ["a"]', "can't import no_such_module"),
        ('function = "shop_functions:untyped"\nstreams = ["a"]', "annotate order"),
        ('streams = ["a"]', "there is no such function"),
    ],
)
def test_a_binding_that_can_not_be_made_names_its_place(write: Write, options: str, said: str) -> None:
    """Nothing to consume, no such function, no such module, no annotation; or no function said at all."""
    write(f"[functions.legacy]\n{options}\n")
    with pytest.raises(ConfigurationError, match=rf"dispatch\.toml:\d: functions\.legacy.*{said}"):
        applied([])


def test_a_function_bound_in_its_code_is_not_bound_again(write: Write, declared: list[Binding]) -> None:
    """Which of the two would hold?"""
    write('[functions.check_limit]\nfunction = "shop_functions:undecorated"\nstreams = ["a"]\n')
    with pytest.raises(ConfigurationError, match="check_limit is bound in its code already"):
        applied(declared)


def test_modules_are_found_from_the_files_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of a function is beside the file that names it, wherever the command is typed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("def check(order: dict) -> None: ...\n", "legacy_checks.py")
    path = write('[functions.f]\nfunction = "legacy_checks:check"\nstreams = ["a"]\n')
    monkeypatch.chdir("/")
    [function] = configured([], load(file=path))
    assert function.binding.function.__module__ == "legacy_checks"


def test_a_target_is_a_word_or_a_table(write: Write, declared: list[Binding]) -> None:
    """Both say the same; a table has the target's options."""
    write("""[functions.check_limit]
target = "process"
[functions.Count-Orders]
target = { type = "process", processes = 2, memory = "512MB", cpu_seconds = 10 }
""")
    functions = applied(declared)
    assert functions["check_limit"].target_name == "process"
    target = functions["Count-Orders"].target
    assert target is not None
    assert target.model_dump(exclude_unset=True) == {
        "type": "process",
        "processes": 2,
        "memory": 512_000_000,
        "cpu_seconds": 10.0,
    }
