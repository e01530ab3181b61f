"""``dispatch manifest``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
APP = """
from bindings import on_stream

@on_stream("orders", emits="results", CONCURRENCY)
def handle(order: dict) -> dict:
    return order
"""


def test_the_document_of_a_folder(dispatch: Any) -> None:
    """It is JSON, names the app and the groups, and has no path of this machine."""
    dispatch.write("app.py", APP.replace("CONCURRENCY", "concurrency=3"))
    done = dispatch("manifest")
    assert done.code == 0, done.stderr
    assert (done.json["version"], done.json["app"]) == (1, "shop")
    [entry] = done.json["functions"]
    assert (entry["reference"], entry["group"], entry["concurrency"]) == ("app:handle", "shop.handle", 3)
    assert str(dispatch.folder) not in done.stdout
    assert dispatch("manifest", "--app", "other").json["functions"][0]["group"] == "other.handle"


def test_the_schema_that_is_printed_is_the_published_one(dispatch: Any) -> None:
    """`dispatch manifest --schema` needs no functions, and writes docs/schema/manifest.schema.json."""
    done = dispatch("manifest", "--schema")
    assert done.stdout == (ROOT / "docs/schema/manifest.schema.json").read_text()


def test_a_document_that_is_out_of_date_is_found_out(dispatch: Any) -> None:
    """--check is 0 for what the code declares, and 1 with the lines that differ and the command that mends it."""
    dispatch.write("app.py", APP.replace("CONCURRENCY", "concurrency=3"))
    dispatch.write("manifest.json", dispatch("manifest").stdout)
    assert dispatch("manifest", "--check", "manifest.json").code == 0
    dispatch.write("app.py", APP.replace("CONCURRENCY", "concurrency=44"))
    stale = dispatch("manifest", "--check", "manifest.json")
    assert stale.code == 1
    assert [line for line in stale.stdout.splitlines() if line[1:].strip().startswith('"concurrency"')] == [
        '-      "concurrency": 3,',
        '+      "concurrency": 44,',
    ]
    assert "dispatch manifest > manifest.json" in stale.stderr


def test_a_file_that_is_no_manifest(dispatch: Any) -> None:
    """Another document is refused with a message, not with a traceback."""
    dispatch.write("app.py", APP.replace("CONCURRENCY", ""))
    dispatch.write("manifest.json", json.dumps({"version": 7}))
    done = dispatch("manifest", "--check", "manifest.json")
    assert (done.code, done.stderr.count("Traceback")) == (1, 0)
    assert "version 7" in done.stderr
