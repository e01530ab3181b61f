"""The modules by plans alone: how they are written, and what they would make. No AWS is asked, not even moto's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from terraform_cli import ROOT, Terraform, needs_terraform
from tflint import build as build_tflint
from tflint import find as find_tflint

from bindings.manifest import Manifest

MODULES = ["aws-ecs-dispatcher", "aws-lambda-target", "aws-network"]
EXAMPLES = ["complete", "existing-kafka", "minimal"]
#: What each example's manifest.json is made of.
MADE_OF = {
    "complete": ["--config", str(ROOT / "examples" / "complete" / "dispatch.toml")],
    "existing-kafka": ["--app", "shop", "--only", "confirm_order"],
    "minimal": ["--app", "shop", "--only", "confirm_order"],
}


def documented(text: str, heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    section = text.split(f"## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    return set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))


def declared(kind: str, folder: Path) -> set[str]:
    """The variables or outputs of a module."""
    files = folder.glob("*.tf")
    return {name for file in files for name in re.findall(rf'^{kind} "(\w+)"', file.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_whole_and_its_page_names_everything(module: str) -> None:
    """Each has the files that one expects, and its README each variable and each output, with no other."""
    folder = ROOT / "modules" / module
    for file in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"):
        assert (folder / file).is_file(), file
    text = (folder / "README.md").read_text()
    assert documented(text, "Inputs") == declared("variable", folder)
    assert documented(text, "Outputs") == declared("output", folder)
    for file in folder.glob("*.tf"):
        for kind, name, block in re.findall(
            r'^(variable|output) "(\w+)" {\n(.*?)^}', file.read_text(), re.MULTILINE | re.DOTALL
        ):
            assert "description" in block, name
            assert kind == "output" or "type " in block, name


@pytest.mark.parametrize("module", MODULES)
def test_the_example_on_a_modules_page_is_one_that_is_applied(module: str) -> None:
    """The block of Terraform in its README stands as it is in an example, and those are applied."""
    [block] = re.findall(
        r"^```hcl\n(.*?)^```$", (ROOT / "modules" / module / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    examples = [(ROOT / "examples" / name / "main.tf").read_text() for name in EXAMPLES]
    assert any(block in text for text in examples), block


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_examples_manifest_is_that_of_the_functions(example: str) -> None:
    """``dispatch manifest --check`` finds no difference from the code. Stale? Make it anew as its page says."""
    file = ROOT / "examples" / example / "manifest.json"
    Manifest.read(file.read_text())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCH_")}
    command = [sys.executable, "-m", "dispatcher", "manifest", "functions/", *MADE_OF[example], "--check", str(file)]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=False, env=kept)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_formatted() -> None:
    """``terraform fmt`` would change nothing."""
    if shutil.which("terraform") is None:
        needs_terraform()
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "-list=true", *(str(ROOT / "modules" / each) for each in MODULES),
         *(str(ROOT / "examples" / each) for each in EXAMPLES), str(ROOT / "tests")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("where", [*(f"modules/{each}" for each in MODULES), "tests"])
@pytest.mark.timeout(300)
def test_terraforms_own_tests_pass(terraform: Terraform, where: str) -> None:
    """``terraform test``, of the modules and of the examples: what they would make, what roles may do, and which values are refused."""
    terraform.init(where)
    said = terraform.run(where, "test", "-no-color")
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", said), said


@pytest.mark.timeout(900)  # CI builds it meanwhile
def test_tflint_finds_nothing() -> None:
    """No unused declaration, no missing type or version, no deprecated syntax: tflint's own rules for the language. In CI it is built,
    and that it can't be is a failure."""
    program = build_tflint() if os.environ.get("CI") == "true" else find_tflint()
    if program is None:
        pytest.skip("there is no tflint: terraform/README.md says how it is built")
    for folder in sorted({file.parent for file in ROOT.rglob("*.tf") if ".terraform" not in file.parts}):
        done = subprocess.run(
            [program, f"--chdir={folder}", "--format=compact"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{folder}\n{done.stdout}{done.stderr}"


@pytest.mark.timeout(300)
def test_checkov_finds_nothing_without_a_reason() -> None:
    """Each of its findings is mended, or has a reason beside it. It is installed for this alone, from its own lock: it pins a
    hundred packages. It is kept in ``build/`` until that lock changes.
    """
    checkov = shutil.which("checkov")
    if checkov is None:
        if os.environ.get("CI") != "true":
            pytest.skip("there is no checkov: pip install -r scripts/requirements-terraform.txt in a venv of its own")
        checkov = _install_checkov(ROOT.parent / "build" / "checkov")
    done = subprocess.run(
        [checkov, "--directory", str(ROOT), "--framework", "terraform", "--compact", "--skip-download", "--output", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    failed = report["results"]["failed_checks"]
    assert failed == [], "\n".join(f"{each['check_id']} {each['resource']}: {each['check_name']}" for each in failed)
    assert report["summary"]["passed"] > 100
    reasons = [each["check_result"]["suppress_comment"] for each in report["results"]["skipped_checks"]]
    # Its own words where a line gives none are "No comment provided".
    assert not [each for each in reasons if len(each) < len("as above") or each == "No comment provided"], reasons


def _install_checkov(venv: Path) -> str:
    def run(*command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    lock, installed = ROOT.parent / "scripts" / "requirements-terraform.txt", venv / "lock"
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        run(sys.executable, "-m", "venv", "--clear", venv)
        run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock)
        shutil.copy(lock, installed)
    return str(venv / "bin" / "checkov")
