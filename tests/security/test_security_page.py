"""The page of the threat model, held to the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    """A promise whose test has gone, or was given another name, is one that nobody holds."""
    named = re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)`", PAGE)
    assert len(named) > 15
    for name in named:
        path = ROOT / name if "/" in name else ROOT / "tests" / "security" / name
        assert path.is_file(), name


def test_every_module_of_these_tests_is_on_the_page() -> None:
    """What is proved is said, so that the page can be read for the whole."""
    modules = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert {name for name in modules if f"`{name}`" not in PAGE} == set()
