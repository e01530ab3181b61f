"""What the READMEs of the modules say that they take and give is what they do."""

from __future__ import annotations

import re
from pathlib import Path

import hcl2
import pytest

MODULES = Path(__file__).parent.parent.parent / "terraform" / "modules"


@pytest.mark.parametrize("module", ["gcp-worker-pool", "kafka-topics"])
@pytest.mark.parametrize(
    ("heading", "file", "kind"), [("Inputs", "variables.tf", "variable"), ("Outputs", "outputs.tf", "output")]
)
def test_every_input_and_output_is_told_of(module: str, heading: str, file: str, kind: str) -> None:
    """The first column of the table names each of them, and nothing else; defaults are told where there are some, types are not left
    out, and each is described."""
    folder = MODULES / module
    section = (folder / "README.md").read_text().split(f"## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    declared = {
        name.strip('"'): body for group in hcl2.loads((folder / file).read_text())[kind] for name, body in group.items()
    }
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(told) == set(declared)
    for name, body in declared.items():
        assert "description" in body, name
        if kind == "variable":
            assert "type" in body, name
            assert bool(told[name][2].strip()) == ("default" in body), name
