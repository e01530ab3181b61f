"""The README, run: its function is written to a file, and its commands are typed as they stand there."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


class Typed(NamedTuple):
    """A command of the README, and what came of it."""

    command: str
    code: int
    stdout: str
    stderr: str


def blocks(language: str) -> list[str]:
    """The fenced blocks in that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """The commands of a console block: each begins with ``$``, and goes on to the next."""
    return [command.strip("\n") for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def type_in(command: str, folder: Path, **environment: str) -> Typed:
    """Run one command by bash, in a folder, with the commands of this environment on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PATH": path, **environment},
    )
    return Typed(command, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's function, in the file that the README names."""
    folder = tmp_path_factory.mktemp("readme")
    [name] = re.findall(r"^Write `(\w+\.py)`:$", README, re.MULTILINE)
    [code] = blocks("python")
    (folder / name).write_text(code)
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Typed]:
    """What came of the first console block, by command. Activating an environment is left to the test's own."""
    typed = [
        type_in(command, folder) for command in commands(blocks("console")[0]) if command != "source .venv/bin/activate"
    ]
    return {each.command: each for each in typed}


def test_the_commands_end_as_the_readme_says(first: dict[str, Typed]) -> None:
    """Every command succeeds but the run, which exits 1 for its dead letter."""
    codes = {command: each.code for command, each in first.items()}
    assert [command for command, code in codes.items() if code] == ["dispatch run payments.py --until-caught-up"], first
    assert codes["dispatch run payments.py --until-caught-up"] == 1
    assert len(codes) == 6


def test_the_results_are_those_that_the_readme_tells_of(first: dict[str, Typed]) -> None:
    """The large payment is up for review, and the one that is none rests among the dead letters."""
    review = first["dispatch streams tail payments.review"].stdout
    dead = first["dispatch streams tail payments.review_large.dead"].stdout
    assert "12,500.00 at once" in review
    assert "ben" not in review
    assert "-1" in dead
    assert "anna" not in dead


def test_the_function_can_be_called(folder: Path) -> None:
    """The README promises that a test just calls it."""
    program = "import asyncio, payments; p = payments.Payment(account='a', amount=12_500); "
    done = type_in(f'{sys.executable} -c "{program}print(asyncio.run(payments.review_large(p)).account)"', folder)
    assert done.stdout == "a\n", done


@pytest.mark.kafka
def test_the_same_function_runs_on_kafka(folder: Path, first: dict[str, Typed], kafka_bootstrap: str) -> None:
    """The commands of the second block, on a real Kafka, handle the same payments in the same way.

    Only the stream's name is made this run's own, and the run is one to the end.
    """
    own = f"readme-{secrets.token_hex(4)}"
    code = (folder / "payments.py").read_text().replace('"payments', f'"{own}')
    (folder / "kafka").mkdir()
    (folder / "kafka" / "payments.py").write_text(code)
    (folder / "kafka" / "payments.jsonl").write_bytes((folder / "payments.jsonl").read_bytes())
    export, send, run = commands(blocks("console")[1])
    assert export == "export DISPATCH_BROKER=kafka://localhost:9092"

    def on_kafka(command: str) -> Typed:
        return type_in(command, folder / "kafka", DISPATCH_BROKER=f"kafka://{kafka_bootstrap}")

    sent = on_kafka(send.replace("send payments ", f"send {own} "))
    assert sent.code == 0, sent
    ran = on_kafka(f"{run} --until-caught-up")
    assert ran.code == 1, ran
    for command, before in first.items():
        if command.startswith("dispatch streams tail payments"):
            after = on_kafka(command.replace("tail payments", f"tail {own}"))
            assert after.stdout.count("\n") == before.stdout.count("\n") == 1, after
            assert after.stdout.rpartition(" {")[2] == before.stdout.rpartition(" {")[2]


def test_what_the_readme_names_is_there() -> None:
    """Its links lead to files, and its two commands are scripts that can be run."""
    for link in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / link).is_file(), link
    for script in re.findall(r"^(scripts/\w+)", blocks("bash")[0], re.MULTILINE):
        assert os.access(ROOT / script, os.X_OK), script
