"""The code of docs/testing.md is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dispatcher.testing

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_the_examples_pass(tmp_path: Path) -> None:
    """All examples, one after another in one file as a reader would paste them, pass with warnings as errors."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = len(re.findall(r"^(?:async )?def test_", "\n".join(blocks), re.MULTILINE))
    assert f"{wanted} passed" in done.stdout


#: What the page leaves to the docstrings.
UNTOLD = {"broker", "members", "create_stream"}
MEMBERS = {name for name in dir(dispatcher.testing.Dispatching) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(MEMBERS - UNTOLD))
def test_the_page_tells_of_every_member(name: str) -> None:
    """What a test can ask or do is on the page, by name."""
    assert f"test.{name}" in PAGE or f"`{name}(" in PAGE


def test_what_is_exported_is_there() -> None:
    """``__all__`` names what the package has, and each name once."""
    assert len(set(dispatcher.testing.__all__)) == len(dispatcher.testing.__all__)
    assert [name for name in dispatcher.testing.__all__ if not hasattr(dispatcher.testing, name)] == []
