"""The unit file for a single machine: as systemd itself reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dispatcher.config import Settings

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy/systemd/dispatch@.service"


def settings() -> dict[str, list[str]]:
    """The unit's assignments, by name."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def analyze() -> list[str]:
    """The program that checks units; the reason why there is none skips a test, and fails it in CI."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("systemd-analyze can't be found")
        pytest.skip("systemd-analyze can't be found")
    return [program]


def instance(folder: Path, text: str) -> Path:
    """The unit of the app shop, with a program in it that is on this machine."""
    path = folder / "dispatch@shop.service"
    path.write_text(text.replace("/srv/%i/.venv/bin/dispatch", "/bin/true"))
    return path


def verify(analyze: list[str], unit: Path) -> str:
    """What systemd has to say of a unit; the words are the same whatever the exit code of its version is."""
    done = subprocess.run([*analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    return "".join(line for line in done.stderr.splitlines(keepends=True) if unit.name in line)


def test_systemd_reads_all_of_it(analyze: list[str], tmp_path: Path) -> None:
    """No name, value or section is unknown to it; a mistake that is planted is told."""
    text = UNIT.read_text()
    assert verify(analyze, instance(tmp_path, text)) == ""
    assert "KillMode" in text
    assert "mixd" in verify(analyze, instance(tmp_path, text.replace("KillMode=mixed", "KillMode=mixd")))


def test_it_is_confined(analyze: list[str], tmp_path: Path) -> None:
    """Systemd's own measure of what a service may do, 0 to 10, is at most 1.5; a service that is not confined has more than 9."""

    def exposure(text: str) -> float:
        unit = instance(tmp_path, text)
        command = [*analyze, "security", "--offline=true", "--no-pager", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        [found] = re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)
        return float(found)

    assert exposure(UNIT.read_text()) <= 1.5
    assert exposure("[Service]\nExecStart=/bin/true\n") > 9


def test_the_stop_holds_the_drain() -> None:
    """Stopping has the drain's time and 20 s more, and the exit codes of a drain are no failure."""
    found = settings()
    variables = dict(each.split("=", 1) for line in found["Environment"] for each in line.split())
    assert float(variables["DISPATCH_DRAIN"]) == Settings().drain
    assert float(found["TimeoutStopSec"][0]) >= Settings().drain + 20
    assert found["SuccessExitStatus"] == ["130 143"]
    assert found["RestartPreventExitStatus"] == ["2"]


def test_its_variables_are_settings_and_no_secrets() -> None:
    """Every DISPATCH_ variable names a setting; a password comes as a credential, by its file."""
    found = settings()
    variables = dict(each.split("=", 1) for line in found["Environment"] for each in line.split())
    known = json.loads((ROOT / "docs/schema/dispatch.schema.json").read_text())["properties"]
    named = {name.removeprefix("DISPATCH_").lower() for name in variables if name.startswith("DISPATCH_")}
    assert {"app", "data", "drain", "monitoring"} == named <= known.keys()
    assert "password" not in " ".join(variables).lower()
    assert "#LoadCredential=" in UNIT.read_text()
