"""``dispatch init``: a new project works before a line of it is changed, and nothing is left of one that can't be made."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Dispatch

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, bytecode: Path) -> Iterator[Dispatch]:
    """The command, in the folder of a new project."""
    outside = Dispatch(tmp_path_factory.mktemp("init"), bytecode)
    done = outside("init", "corner-shop")
    assert (done.code, done.stdout) == (0, ""), done
    inside = Dispatch(outside.folder / "corner-shop", bytecode)
    yield inside
    inside.close()


def test_its_own_tests_pass_at_once(project: Dispatch) -> None:
    """Pytest in the new folder finds tests, and they pass, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=project.folder,
        env=project.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* passed", done.stdout)
    assert "skipped" not in done.stdout


def test_its_events_go_through_it_as_it_says(dispatch: Dispatch) -> None:
    """The commands that are shown as the next ones work as they are typed; a check has nothing to say, and reviews come out."""
    made = dispatch("init", "corner-shop")
    lines = [line.strip() for line in made.stderr.splitlines()]
    assert "cd corner-shop" in lines
    dispatch.folder /= "corner-shop"
    shown = [line.split()[1:] for line in lines if line.startswith("dispatch ")]
    assert [words[0] for words in shown] == ["send", "run", "streams"]
    done = [dispatch(*words) for words in shown]
    assert [each.code for each in done] == [0, 0, 0], done
    assert "2,500.00" in done[-1].stdout
    check = dispatch("check", "functions/", "--json")
    assert (check.code, check.json) == (0, [])


def test_its_manifest_is_that_of_its_code(project: Dispatch) -> None:
    """manifest.json is what `dispatch manifest` says, under the project's name, which dispatch.toml has too."""
    assert project("manifest", "functions/", "--check", "manifest.json").code == 0
    manifest = json.loads((project.folder / "manifest.json").read_text())
    assert manifest["app"] == "corner-shop"
    assert [each["group"] for each in manifest["functions"]] == ["corner-shop.review_large"]


def test_its_code_is_clean(project: Dispatch) -> None:
    """A linter and a formatter as they come find nothing, and no placeholder is left in a file."""
    for words in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache", "."],
            cwd=project.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for path in project.folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and ".dispatch" not in path.parts:
            assert "@@" not in path.read_text(), path


def test_its_terraform_calls_the_module_as_it_is(project: Dispatch) -> None:
    """The call gives every variable that the module asks for, and none that it does not have."""
    module = (ROOT / "terraform/modules/aws-ecs-dispatcher/variables.tf").read_text()
    variables = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', module, re.MULTILINE | re.DOTALL))
    asked = {name for name, body in variables.items() if not re.search(r"^  default ", body, re.MULTILINE)}
    call = (project.folder / "terraform/main.tf").read_text().partition('module "dispatcher" {')[2]
    given = set(re.findall(r"^  (\w+) +=", call, re.MULTILINE)) - {"source"}
    assert asked <= given <= variables.keys()
    assert 'jsondecode(file("${path.module}/../manifest.json"))' in call
    used = set(re.findall(r"\bvar\.(\w+)", call))
    declared = (project.folder / "terraform/variables.tf").read_text()
    assert used == set(re.findall(r'^variable "(\w+)"', declared, re.MULTILINE))


def test_its_template_is_that_of_its_code(project: Dispatch) -> None:
    """template.yaml is what `dispatch manifest --format sam` says, so that no function is added to it by hand; its handler finds each
    function where the project is the package, `make` knows its layer, and dispatch.toml names the function as it does."""
    assert project("manifest", "functions/", "--format", "sam", "--check", "template.yaml").code == 0
    document = json.loads((project.folder / "template.yaml").read_text())
    function = document["Resources"]["ReviewLargeFunction"]["Properties"]
    assert function["Timeout"] < 10.0  # of the function
    named = function["FunctionName"]["Fn::Sub"].replace("${AWS::StackName}", "corner-shop")
    said = f'function = "{named}", qualifier = "{function["AutoPublishAlias"]}"'
    assert said in (project.folder / "dispatch.toml").read_text()
    [layer] = [each["Ref"] for each in document["Globals"]["Function"]["Layers"]]
    folder = project.folder / document["Resources"][layer]["Properties"]["ContentUri"]
    assert f"build-{layer}:" in (folder / "Makefile").read_text()
    module, _, attribute = function["Handler"].rpartition(".")
    done = subprocess.run(
        [sys.executable, "-c", f"import {module} as module; print(callable(module.{attribute}))"],
        cwd=project.folder,
        env=project.environ | function["Environment"]["Variables"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "name", ["Shop", "my_shop", "-shop", "shop-", "a--b", "2shop", "ab", "x" * 41, "../shop", "shop/", ""]
)
def test_a_name_that_can_be_no_project_is_refused(dispatch: Any, name: str) -> None:
    """What could be no distribution, image, group or role is a usage error that says what could, and makes nothing."""
    done = dispatch("init", "--", name)
    assert (done.code, done.stdout) == (2, "")
    assert "lower-case letters" in done.stderr
    assert list(dispatch.folder.iterdir()) == []


def test_what_is_there_is_not_touched(dispatch: Any) -> None:
    """A folder that holds something, a file and a dangling link of that name are refused; an empty folder is taken."""
    (dispatch.folder / "full").mkdir()
    dispatch.write("full/notes.txt", "mine")
    dispatch.write("file", "mine")
    (dispatch.folder / "link").symlink_to("nowhere")
    for name in ("full", "file", "link"):
        done = dispatch("init", name)
        assert (done.code, done.stdout) == (1, "")
        assert "error:" in done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in (dispatch.folder / "full").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in dispatch.folder.iterdir()) == ["file", "full", "link"]
    (dispatch.folder / "empty").mkdir()
    assert dispatch("init", "empty").code == 0
    assert (dispatch.folder / "empty/functions/orders.py").is_file()


def test_a_disk_that_is_full_leaves_nothing_half_written(dispatch: Any) -> None:
    """When a file can't be written the error says why, and neither the folder nor a part of it is there."""
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", "init", "corner-shop"],
        cwd=dispatch.folder,
        env=dispatch.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000)),
    )
    assert done.returncode == 1, done
    assert "corner-shop can't be made: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(dispatch.folder.iterdir()) == []
