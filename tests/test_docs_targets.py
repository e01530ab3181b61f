"""The pages of the targets: what they show as configuration is one, and what they deploy is deployed, called, and answers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.request import Request, urlopen

import pytest
from host_servers import free_port
from lambda_server import LambdaServer, credentials

from bindings.discovery import discover
from bindings.envelopes import cloudevents, reply
from bindings.envelopes.record import WireRecord
from dispatcher.config.configuration import load
from dispatcher.config.functions import configured
from dispatcher.config.targets import HttpTarget, Target
from dispatcher.invokers.making import make_invoker

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {"targets": DOCS / "targets.md", **{path.stem: path for path in sorted((DOCS / "targets").glob("*.md"))}}
_FILE = re.compile(
    r"[Ww]rite `(?P<name>[\w.]+)`[^`]*(?:`[^`]+`[^`]*)*?:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_EVENT = {"id": 1, "large": True, "attempt": 1}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}.md:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """The fenced blocks of the pages in that language."""
    for page, path in PAGES.items():
        text = path.read_text()
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield Block(page, text.count("\n", 0, found.start(1)), found[1])


def written(page: str, folder: Path) -> list[str]:
    """Write the page's files; returns their names."""
    found = {each["name"]: each["text"] for each in _FILE.finditer(PAGES[page].read_text())}
    for name, text in found.items():
        (folder / name).write_text(text)
    return sorted(found)


def typed(page: str) -> list[str]:
    """What the page has typed."""
    return [
        line[2:]
        for block in blocks("console")
        if block.page == page
        for line in block.text.splitlines()
        if line[:2] == "$ "
    ]


def type_in(command: str, folder: Path, **environment: str) -> str:
    """Type a command; it must succeed. Returns what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISPATCH_", "AWS_"))}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        env={**kept, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200", **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def is_the_result(out: str) -> bool:
    """Whether a result of the pages' function is among what was printed."""
    return any(json.loads(found) == _EVENT for found in re.findall(r'\{"id".*?\}', out))


@pytest.mark.parametrize("block", list(blocks("toml")), ids=str)
def test_every_configuration_can_be_used(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read without a complaint, and what calls its target is made of it."""
    for name in ("DISPATCH_CONFIG", "DISPATCH_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dispatch.toml").write_text(block.text)
    module = f"orders_{block.page.replace('-', '_')}_{block.line}"
    (tmp_path / f"{module}.py").write_text(_FILE.search(PAGES["process"].read_text())["text"])  # type: ignore[index]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    bindings = discover(f"{module}.py") if "check_limit" in block.text else []
    functions = configured(bindings, load())
    assert functions
    for function in functions:
        assert function.target is not None
        assert make_invoker(function.binding, function.target) is not None


@pytest.mark.parametrize("block", list(blocks("json")), ids=str)
def test_every_document_is_json(block: Block) -> None:
    """What is to be copied into another program's file can be."""
    assert json.loads(block.text)


def test_every_target_and_every_envelope_is_told_of() -> None:
    """The table has a column for each target that there is, the page of HTTP a word on what it can't do without."""
    models = get_args(get_args(get_args(Target)[0])[0]) or get_args(get_args(Target)[0])
    names = {re.sub("Target$", "", model.__name__) for model in models}
    assert len(names) == 5
    header = next(line for line in PAGES["targets"].read_text().splitlines() if line.startswith("| | `local`"))
    assert re.findall(r"`(\w+)`", header) == ["local", "process", "http", "aws_lambda", "google_function"]
    told = PAGES["http"].read_text() + PAGES["targets"].read_text()
    for option in ("warm_up", "max_request", "max_reply", "cert_file", "auth", "headers"):
        assert option in HttpTarget.model_fields
        assert f"`{option}`" in told, option


def test_the_page_of_processes_is_what_happens(tmp_path: Path) -> None:
    """Its files, its commands, and the result that its function gives."""
    assert written("process", tmp_path) == ["dispatch.toml", "orders.py"]
    assert is_the_result([type_in(command, tmp_path) for command in typed("process")][-1])


def _until_served(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the server has ended"
        assert time.monotonic() < give_up, "the server does not answer"
        try:
            with urlopen(url) as answer:  # noqa: S310 - our own server
                answer.read()
                return
        except OSError:
            time.sleep(0.05)


def test_the_page_of_http_is_what_happens(tmp_path: Path) -> None:
    """Its service under uvicorn, its configuration, its commands: the event goes there, and its result comes back."""
    assert written("http", tmp_path) == ["dispatch.toml", "orders.py", "service.py"]
    port = free_port()
    configuration = tmp_path / "dispatch.toml"
    assert "localhost:8080" in configuration.read_text()
    configuration.write_text(configuration.read_text().replace("8080", str(port)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "uvicorn", "service:application", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as server:
        try:
            _until_served(f"http://127.0.0.1:{port}/readyz", server)
            assert is_the_result([type_in(command, tmp_path) for command in typed("http")][-1])
        finally:
            server.terminate()


async def test_the_page_of_lambda_is_what_happens(tmp_path: Path) -> None:
    """Its package in AWS's runtime client behind an Invoke API, its configuration, its commands."""
    assert written("aws-lambda", tmp_path) == ["dispatch.toml", "lambda_function.py", "orders.py"]
    async with LambdaServer(tmp_path) as server:
        path = Path(os.pathsep.join((str(tmp_path), str(ROOT))))
        await server.add("check-limit", "lambda_function.lambda_handler", path=path)
        environment = {**credentials(), "AWS_ENDPOINT_URL_LAMBDA": server.url}
        out = [await asyncio.to_thread(type_in, command, tmp_path, **environment) for command in typed("aws-lambda")]
        assert is_the_result(out[-1])
        assert [request.qualifier for request in server.requests] == ["live"]
        assert server.bad_signatures == 0


def test_what_the_page_of_google_deploys_answers(tmp_path: Path) -> None:
    """Its source under the Functions Framework takes an event and says what the function says."""
    assert written("google-functions", tmp_path) == ["dispatch.toml", "main.py", "orders.py"]
    port = free_port()
    command = [
        *(sys.executable, "-m", "functions_framework", "--source", "main.py", "--target", "main"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    ) as server:
        try:
            headers, body = cloudevents.binary(WireRecord("orders", 0, 7, 0, b"k", b'{"id": 1, "total": 5000}'))
            request = Request(f"http://127.0.0.1:{port}/", body, {**headers, "accept": reply.MEDIA_TYPE}, method="POST")
            give_up = time.monotonic() + 60
            while True:
                assert time.monotonic() < give_up
                try:
                    with urlopen(request) as answer:  # noqa: S310 - our own server
                        read = reply.decode(answer.read(), 1)
                        break
                except OSError:
                    assert server.poll() is None
                    time.sleep(0.05)
            assert [json.loads(emit.value) for emit in read.results] == [_EVENT]
        finally:
            server.terminate()
