"""Functions that are elsewhere: bound in the configuration alone, with a target that has their code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shop_functions

from bindings import Batch, bindings_of
from dispatcher.config.configuration import load
from dispatcher.config.elsewhere import is_elsewhere
from dispatcher.config.functions import configured
from dispatcher.config.targets import HttpTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.http.invoker import HttpInvoker
from dispatcher.invokers.making import make_invoker

Write = Callable[..., Path]


def test_a_function_may_have_no_code_here(write: Write) -> None:
    """Streams and a target are enough; every policy is said as for any other function."""
    write("""[functions.legacy-check]
streams = ["orders"]
order = "partition"
timeout = 5
emits = "checked"
retry = { max_attempts = 3 }
target = { type = "http", url = "https://legacy.example/check" }
""")
    [function] = configured([], load())
    binding = function.binding
    assert (binding.name, binding.streams, binding.order, binding.emits) == (
        "legacy-check",
        ("orders",),
        "partition",
        "checked",
    )
    assert (binding.timeout, binding.retry.max_attempts, binding.signature.batch) == (5, 3, False)
    assert is_elsewhere(binding)
    assert (function.target_name, str(function.origins["timeout",])) == ("http", "dispatch.toml:4")
    assert isinstance(function.target, HttpTarget)
    assert isinstance(make_invoker(binding, function.target), HttpInvoker)


def test_it_takes_batches_where_its_batch_says_so(write: Write) -> None:
    """With max_events over 1 it is handed batches, and otherwise one event at a time."""
    write("""[functions.many]
streams = ["orders"]
batch = { max_events = 20, max_wait = 2 }
target = { type = "http", url = "http://localhost/" }
[functions.one]
streams = ["orders"]
batch = { max_events = 1 }
target = { type = "http", url = "http://localhost/" }
""")
    found = {function.binding.name: function.binding for function in configured([], load())}
    assert (found["many"].signature.batch, found["many"].batch) == (True, Batch(max_events=20, max_wait=2))
    assert found["one"].signature.batch is False


def test_a_function_with_code_here_can_run_elsewhere(write: Write) -> None:
    """A decorated function is sent elsewhere by its target alone: what it declares stays."""
    write('[functions.check_limit]\ntarget = { type = "http", url = "http://localhost/" }\n')
    [declared] = bindings_of(shop_functions.check_limit)
    [function] = configured([declared], load())
    assert function.binding == declared
    assert function.target_name == "http"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[functions.chek_limit]\ntarget = { type = "http", url = "http://h/" }\n',
            r"dispatch\.toml:1: functions\.chek_limit: there is no such function; did you mean check_limit\? .*streams",
        ),
        (
            '[functions.f]\nstreams = ["a"]\ntarget = { type = "http" }\n',
            r"dispatch\.toml:3: functions\.f\.target: url is missing",
        ),
        (
            '[functions.f]\nstreams = ["a"]\ntarget = { type = "http", url = "http://h/", retries = 3 }\n',
            r"functions\.f\.target\.retries: there is no such setting",
        ),
        (
            '[functions."no name"]\nstreams = ["a"]\ntarget = { type = "http", url = "http://h/" }\n',
            r"functions\.no name: .*is not a stream name",
        ),
        (
            '[functions.f]\nstreams = ["a"]\ntarget = { type = "http", url = "http://h/", auth = { type = "bearer", token = "T0P" } }\n',
            r"functions\.f\.target\.auth\.token",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write: Write, text: str, says: str) -> None:
    """Each mistake has its line, its key and what to do; a secret that was written out is not repeated."""
    write(text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        configured(list(bindings_of(shop_functions.check_limit)), load())
    assert "T0P" not in str(caught.value)


def test_files_of_a_target_are_relative_to_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Certificates and secrets are beside the file that names them, wherever the command is typed."""
    path = write("""[functions.f]
streams = ["a"]
[functions.f.target]
type = "http"
url = "https://h/"
ca_file = "ca.pem"
headers = { "x-functions-key" = { file = "key" } }
auth = { type = "bearer", token = { file = "/run/token" } }
""")
    monkeypatch.chdir("/")
    [function] = configured([], load(file=path))
    target = function.target
    assert isinstance(target, HttpTarget)
    assert target.ca_file == path.parent / "ca.pem"
    assert target.model_dump(exclude_unset=True)["headers"]["x-functions-key"]["file"] == path.parent / "key"
    assert target.model_dump(exclude_unset=True)["auth"]["token"]["file"] == Path("/run/token")


def test_files_that_are_not_there_are_told_before_the_first_event(write: Write) -> None:
    """A check makes the invoker, which reads the certificates: what is not there is said, and with its path."""
    write('[functions.f]\nstreams = ["a"]\ntarget = { type = "http", url = "https://h/", ca_file = "missing.pem" }\n')
    [function] = configured([], load())
    with pytest.raises(ConfigurationError, match=r"ca_file missing\.pem: No such file"):
        make_invoker(function.binding, function.target)


def test_a_missing_extra_is_named() -> None:
    """Without aiohttp the message is the command that installs it; nothing else needs it."""
    program = """
import sys
sys.modules["aiohttp"] = None
from dispatcher.config.elsewhere import function_elsewhere
from dispatcher.config.targets import HttpTarget
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.making import make_invoker
from bindings.decorator import bind
binding = bind(function_elsewhere, "a", name="f")
assert make_invoker(binding, None) is None
try:
    make_invoker(binding, HttpTarget(type="http", url="http://h/"))
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "f: its target needs aiohttp: pip install 'dispatch-runtime[http]'"


def test_a_check_and_a_list_know_that_there_is_no_code(dispatch: Any) -> None:
    """What is wrong with it is in the configuration, and no module is named that it is not in."""
    dispatch.write(
        "dispatch.toml",
        '[functions.f]\nstreams = ["a"]\nwhere = "value."\ntarget = { type = "http", url = "http://localhost/" }\n',
    )
    done = dispatch("check", "--offline")
    assert done.code == 1
    assert "change where= at the configuration" in done.stdout
    [listed] = dispatch("list", "--json").json
    assert (listed["function"], listed["module"], listed["target"]) == ("f", None, "http")
