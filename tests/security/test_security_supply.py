"""What is installed: known by hash, audited, listed. The audit is the real one; its database is a stand-in on this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = "attrs==25.4.0 --hash=sha256:" + "0" * 64 + "\nidna==3.11 --hash=sha256:" + "1" * 64 + "\n"
FLAW = {
    "id": "GHSA-test-0001",
    "summary": "a flaw",
    "affected": [
        {
            "package": {"name": "idna", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
        }
    ],
}


class Database:
    """Answers as OSV does (https://google.github.io/osv.dev/post-v1-query/), with a flaw in the packages named so."""

    def __init__(self) -> None:
        self.flawed: set[str] = set()
        self.status = 200
        self.asked: list[str] = []
        database = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
                database.asked.append(name)
                self.send_response(database.status)
                self.end_headers()
                self.wfile.write(json.dumps({"vulns": [FLAW]} if name in database.flawed else {}).encode())

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"


@pytest.fixture
def database() -> Iterator[Database]:
    """A database that knows of no flaw."""
    made = Database()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def audit(folder: Path, url: str, lock: str = LOCK) -> tuple[int, str]:
    """Run the audit over a lock; returns its exit code, and all that it said."""
    (folder / "lock.txt").write_text(lock)
    options = ["--vulnerability-service", "osv", "--osv-url", url, "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "scripts/audit.py", str(folder / "lock.txt"), *options],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_an_audit_that_finds_nothing_says_of_how_many(database: Database, tmp_path: Path) -> None:
    """The database was asked for every package, and knows no flaw: 0, with their number."""
    code, said = audit(tmp_path, database.url)
    assert (code, sorted(database.asked)) == (0, ["attrs", "idna"])
    assert "2 packages, none with a known vulnerability" in said


def test_a_known_vulnerability_fails_the_audit(database: Database, tmp_path: Path) -> None:
    """One flawed package of two: 1, with the package, the flaw and the version that mends it."""
    database.flawed = {"idna"}
    code, said = audit(tmp_path, database.url)
    assert code == 1
    assert "idna 3.11 is vulnerable: GHSA-test-0001, mended in 9.9" in said


@pytest.mark.parametrize("why", ["nobody listens", "an error page"])
def test_a_database_out_of_reach_is_said_and_passes_for_no_audit(database: Database, tmp_path: Path, why: str) -> None:
    """No answer fails nothing, and is never "no vulnerabilities": pip-audit alone would say just that."""
    url = database.url
    if why == "nobody listens":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    else:
        database.status = 503
    code, said = audit(tmp_path, url)
    assert code == 0, said
    assert "NOT AUDITED" in said
    assert "none with a known vulnerability" not in said


def test_an_audit_that_breaks_fails(database: Database, tmp_path: Path) -> None:
    """A lock without hashes is no lock: that is not taken for a database out of reach."""
    code, said = audit(tmp_path, database.url, "idna==3.11\n")
    assert code == 2
    assert "does not contain a hash" in said


SKIPPED = {"name": "idna", "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.11)"}
CLEAN = {"name": "attrs", "version": "25.4.0", "vulns": []}
VULNERABLE = {**CLEAN, "vulns": [{"id": "CVE-1", "fix_versions": []}]}


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        ([SKIPPED, SKIPPED], 0, "NOT AUDITED"),
        ([SKIPPED, CLEAN], 1, "could not be audited"),
        ([SKIPPED, VULNERABLE], 1, "CVE-1, mended in no version yet"),
    ],
)
def test_a_package_that_could_not_be_audited(
    report: list[dict[str, object]], code: int, says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All of them: no database. Some of them: a failure, as --strict has it; and none hides a vulnerable one."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from audit import judge

    assert judge(report) == code
    assert says in capsys.readouterr().err


def test_every_locked_package_has_its_hash() -> None:
    """Whatever a mirror sends: pip installs only what has one of the lock's hashes, and every line has some."""
    for group in ("demo", "bench", "dev", "quix", "sam", "go"):
        lines = (ROOT / f"scripts/requirements-{group}.txt").read_text().replace("\\\n", " ").splitlines()
        assert lines
        for line in lines:
            assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_the_bill_of_materials_lists_what_is_declared(tmp_path: Path) -> None:
    """CycloneDX 1.6, with every dependency that the project declares, its version, and what needs what."""
    path = tmp_path / "sbom.json"
    program = [sys.executable, "-m", "cyclonedx_py", "environment", sys.prefix, "--pyproject", "pyproject.toml"]
    options = ["--spec-version", "1.6", "--output-format", "JSON", "--no-validate", "--output-file", str(path)]
    subprocess.run([*program, *options], cwd=ROOT, check=True, capture_output=True)
    bill = json.loads(path.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in bill["components"]}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {match[0].lower() for line in declared if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    assert names <= versions.keys()
    assert all(versions.values())
    assert len(bill["dependencies"]) > len(names)


def test_no_security_rule_is_switched_off_in_the_product() -> None:
    """The S rules of ruff hold for all that is shipped: no file of it is exempt, each ``noqa: S`` says why, and what is not
    shipped is exempt from single rules alone."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    for path, rules in lint["per-file-ignores"].items():
        exempt = [rule for rule in rules if re.fullmatch(r"S\d*", rule)]
        assert not exempt or path in {"tests/**", "benchmarks/**", "scripts/**"}
        assert all(re.fullmatch(r"S\d{3}", rule) for rule in exempt), path
    for part in ("bindings", "dispatcher", "functions"):
        for path in (ROOT / part).rglob("*.py"):
            for line in path.read_text().splitlines():
                if re.search(r"# noqa: [^#]*\bS\d{3}", line):
                    assert re.search(r"# noqa: [A-Z0-9, ]+? +(#|-) *\w", line), f"{path}: {line.strip()}"
