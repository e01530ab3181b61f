"""The documentation: it builds without a warning, asks nothing of other machines, and what it says is so.

What a page shows as code is run, what it shows as typed is typed, and its tables are held against the code. A Python block
that is no module of its own has ``<!-- fragment -->`` on the line above it.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
import pytest

from bindings import Batch, Limits, Retry, bindings_of, on_stream
from dispatcher.brokers.kafka import KafkaSettings
from dispatcher.cli import cli
from dispatcher.cli.findings import of_bindings
from dispatcher.config import Settings
from dispatcher.core.retries import Reason
from scripts import make_cli_page, make_pictures

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}
# Of these two the code is run by tests of their own: docs/testing.md as one program, the quickstart as files below.
RUN_ELSEWHERE = {"testing", "quickstart"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}.md:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """The fenced blocks of all pages in that language, without fragments."""
    for page, text in PAGES.items():
        for found in re.finditer(rf"(<!-- fragment -->\n)?^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if not found[1]:
                yield Block(page, text.count("\n", 0, found.start(2)), language, found[2])


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: from the code in the first cell to the other cells."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGES[page], maxsplit=1, flags=re.MULTILINE)[1]
    table = next(part for part in section.split("\n\n") if part.startswith("|"))
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]
    return {name: row[1:] for row in cells for name in re.findall(r"`([^`]+)`", row[0])}


# -- the site


class Resources(HTMLParser):
    """What a page makes a browser fetch by itself, and what it links to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in {"src", "srcset", "poster"} or (name == "href" and tag in {"link", "use", "image"})):
                self.fetched.append(value)
            elif value and name == "href" and tag == "a":
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "error", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    """Every page is in the navigation, and every link and anchor leads somewhere: mkdocs is set to be strict."""
    assert {path.stem for path in site.glob("*.html")} == {*PAGES, "404"}


def test_the_site_asks_nothing_of_other_machines(site: Path) -> None:
    """No page fetches a font, a script, a style or a picture from elsewhere, nor do the styles."""
    for page in site.rglob("*.html"):
        fetched = Resources(page.read_text()).fetched
        assert fetched
        assert [url for url in fetched if urlsplit(url).netloc] == [], page.name
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+", sheet.read_text()) == [], sheet.name


def test_the_site_can_be_read_from_the_disk(site: Path) -> None:
    """Links and resources name files, not folders for which a server would find the page."""
    for page in site.glob("*.html"):
        if page.stem == "404":
            continue  # a server's alone
        found = Resources(page.read_text())
        for url in (*found.fetched, *found.links):
            parts = urlsplit(url)
            if not parts.scheme and parts.path:
                assert (page.parent / parts.path).is_file(), f"{page.name}: {url}"


# -- code


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.page not in RUN_ELSEWHERE], ids=str)
def test_the_code_of_a_page_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block is a module that imports, whose assertions hold, and in whose functions a check finds no error."""
    name = f"docs_{block.page.replace('-', '_')}_{block.line}"
    path = tmp_path / f"{name}.py"
    path.write_text(block.text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    functions = [value for value in vars(module).values() if isinstance(value, FunctionType)]
    found = of_bindings([binding for function in functions for binding in bindings_of(function)])
    assert [finding for finding in found if finding.severity == "error"] == []


class Typed(NamedTuple):
    """A command, what the page says that comes back, and what came."""

    command: str
    said: str
    code: int
    came: str


def type_in(command: str, folder: Path) -> tuple[int, str]:
    """Run a command as a person would, on an embedded log in the folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCH_")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        env={**kept, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Typed]]:
    """The quickstart, and the pages that go on in its folder: files are written where they say, commands typed."""
    folder, typed = tmp_path_factory.mktemp("quickstart"), []
    steps = re.finditer(
        r"[Ww]rite `(?P<name>[\w.]+)`[^`]*?:\n\n```\w+\n(?P<file>.*?)^```$|^```console\n(?P<console>.*?)^```$",
        PAGES["quickstart"] + PAGES["operations"] + PAGES["replay"],
        re.MULTILINE | re.DOTALL,
    )
    for step in steps:
        if step["name"]:
            (folder / step["name"]).write_text(step["file"])
            continue
        for exchange in re.split(r"^\$ ", step["console"], flags=re.MULTILINE)[1:]:
            command, _, said = exchange.partition("\n")
            typed.append(Typed(command, said, *type_in(command, folder)))
    return folder, typed


def test_the_quickstart_is_what_happens(quickstart: tuple[Path, list[Typed]]) -> None:
    """Each command of it ends as it says, with the output that it shows; ``...`` stands for anything."""
    folder, typed = quickstart
    assert {path.name for path in folder.iterdir()} > {"payments.py", "payments.jsonl", "flaky.py", "test_payments.py"}
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for each in typed:
        assert checker.check_output(each.said, each.came, flags), f"{each.command}\n{each.came}"
    failed = [each.command for each in typed if each.code]
    # Its first run meets a dead letter, and a shadow has differences: the pages say that these exit 1.
    assert [" --shadow " in command for command in failed] == [False, True, True], failed
    assert failed[0] == "dispatch run payments.py --until-caught-up"
    assert len(typed) >= 16


# -- tables


def test_every_option_of_on_stream_is_documented() -> None:
    """The table of options has each of them and no other, with its default."""
    parameters = inspect.signature(on_stream).parameters.values()
    options = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    documented = rows("bindings", "Options")
    assert documented.keys() == options.keys()
    for name, default in options.items():
        if default is not None:
            assert documented[name][0] == f"`{default!r}`".replace("'", '"'), name


@pytest.mark.parametrize(("heading", "policy"), [("Batch", Batch), ("Retry", Retry), ("Limits", Limits)])
def test_every_field_of_a_policy_is_documented(heading: str, policy: Any) -> None:
    """The table of a policy has each of its fields and no other, with its default."""
    documented, made = rows("policies", heading), policy()
    assert documented.keys() == {each.name for each in fields(policy)}
    for name, (default, *_) in documented.items():
        value = getattr(made, name)
        if isinstance(value, tuple):
            assert default == (", ".join(f"`{kind.__name__}`" for kind in value) or "none"), name
        elif isinstance(value, int | float):
            assert float(default.replace(",", "")) == value, name
        else:
            assert default == f"`{value!r}`".replace("'", '"'), name


def test_what_a_dead_letter_says_is_documented(quickstart: tuple[Path, list[Typed]]) -> None:
    """Its headers are those of the table (one is only for cut copies, one for Spring's, one for traces), and every reason is named there."""
    folder, _ = quickstart
    _, out = type_in("dispatch streams tail payments.review_large.dead --json 2>/dev/null", folder)
    written = {header["name"].removeprefix("dispatch-dead-") for header in json.loads(out)["headers"]}
    documented = rows("policies", "Dead letters")
    assert documented.keys() == written | {"truncated", "format", "traceparent"}
    assert {word for word in re.findall(r"`(\w+)`", documented["reason"][0]) if word != "max_age"} == set(Reason)


def test_the_times_for_kafka_are_those_of_the_code() -> None:
    """Each time that the page explains has the default that it says."""
    kafka, process = KafkaSettings.from_url("kafka://localhost:9092"), Settings()
    for name, (default, *_) in rows("kafka", "Times, and why").items():
        value = getattr(kafka, name, None) or getattr(process, name)
        assert float(default.removesuffix(" s")) == value, name


# -- commands


cli.import_all()


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    """All commands, with what one types for each."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        elif not command.hidden:
            yield " ".join((*above, name)), command


def test_the_page_of_commands_is_that_of_the_code() -> None:
    """docs/cli.md says what the commands say of themselves. Stale? Run scripts/docs and commit what it changed."""
    assert PAGES["cli"] == make_cli_page.page()


def test_every_command_and_option_is_documented() -> None:
    """Each command has its section, and in it each of its options."""
    for name, command in commands(cli):
        section = re.split(
            rf"^#+ dispatch {name} {{#dispatch-{name.replace(' ', '-')}}}$", PAGES["cli"], flags=re.MULTILINE
        )
        assert len(section) == 2, name
        text = re.split(r"^#", section[1], flags=re.MULTILINE)[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert f"`{parameter.opts[-1]}`" in text, f"{name}: {parameter.opts}"


def _typed() -> Iterator[tuple[str, str]]:
    """Every line of the pages that begins with ``dispatch``."""
    for language in ("bash", "console"):
        for block in blocks(language):
            for line in re.findall(r"^(?:\$ )?(dispatch .*)$", block.text, re.MULTILINE):
                yield str(block), line


def test_every_command_that_a_page_shows_is_there() -> None:
    """What is to be typed names commands that exist, with options that they have."""
    seen = 0
    for place, line in _typed():
        words = shlex.split(line, comments=True)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            assert words[0] in command.commands, f"{place}: {line}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{place}: {line}"
        seen += 1
    assert seen > 10


# -- pictures


def test_the_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    """docs/assets holds what scripts/make_pictures.py draws. Stale? Run scripts/docs and commit what it changed."""
    make_pictures.main(tmp_path)
    for drawn in tmp_path.iterdir():
        assert (DOCS / "assets" / drawn.name).read_text() == drawn.read_text(), drawn.name


def test_every_picture_is_used_and_told_in_words() -> None:
    """Each picture stands on a page, with a text for those who can't see it, there and in itself."""
    used = {}
    for text in PAGES.values():
        for words, target in re.findall(r"!\[(.*?)\]\((\S+?)\)", text, re.DOTALL):
            used[Path(target).stem] = words
    assert used.keys() == make_pictures.PICTURES.keys()
    for name, words in used.items():
        assert len(words) > 40, name
        root = ET.parse(DOCS / "assets" / f"{name}.svg").getroot()  # noqa: S314 - our own picture
        for part in ("title", "desc"):
            found = root.find(f"{{http://www.w3.org/2000/svg}}{part}")
            assert found is not None, name
            assert found.text, name
        for element in root.iter():
            assert not any("://" in value for value in element.attrib.values()), name
