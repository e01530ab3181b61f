"""The module and the example for Google Cloud: what the provider's schema knows, and rights that are no more than they must be."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google.auth
import hcl2
import pytest
from google_schema import Schema, faults, missing

from bindings.discovery import discover
from bindings.manifest import Manifest
from dispatcher.config.configuration import load

ROOT = Path(__file__).parent.parent.parent
MODULE = ROOT / "terraform" / "modules" / "gcp-worker-pool"
EXAMPLE = ROOT / "terraform" / "examples" / "gcp"
FILES = sorted([*MODULE.glob("*.tf"), *EXAMPLE.glob("*.tf")])


@pytest.fixture(scope="module")
def schema() -> Schema:
    """The schema of the provider; skipped where it can't be had, which is a failure in CI."""
    if (reason := missing()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Schema({kind for file in FILES for kind in re.findall(r'resource "(google_\w+)"', file.read_text())})


def test_every_block_is_one_of_the_providers(schema: Schema) -> None:
    """No argument that there is none of, none missing, none of another kind, in all google_* resources of the module and example."""
    assert [fault for file in FILES for fault in faults(schema, file.read_text(), file.name)] == []


@pytest.mark.parametrize(
    ("written", "instead", "fault"),
    [
        ("  scaling {", "  scalings {", "no argument scalings"),
        ("    service_account = google", "    service_acount = google", "no argument service_acount"),
        ("              secret  = env.value.secret\n", "", "secret is missing"),
        ("          name  = env.key\n          value", "          nme  = env.key\n          value", "no argument nme"),
        ("      resources {", "      resources = {", "resources is a block"),
        ("  location            = var.location\n", "", "location is missing"),
        ('"google_cloud_run_v2_worker_pool"', '"google_cloud_run_worker_pool"', "there is no such resource"),
    ],
)
def test_a_mistake_is_found(schema: Schema, written: str, instead: str, fault: str) -> None:
    """The control: planted mistakes, nested ones and those in ``dynamic`` blocks too, are each named."""
    text = (MODULE / "main.tf").read_text()
    assert written in text
    assert any(fault in found for found in faults(schema, text.replace(written, instead, 1)))


def _resources(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for file in sorted(folder.glob("*.tf")):
        for group in hcl2.loads(file.read_text()).get("resource", []):
            found += [(kind.strip('"'), body) for kind, named in group.items() for body in named.values()]
    return found


def test_the_account_can_do_four_things_and_nobody_comes_in() -> None:
    """Each right is one role on one resource, but for the logon to Kafka, which Google has for a project alone; nothing is given to
    allUsers, and functions are reached from the network alone."""
    rights = [(kind, body["role"].strip('"')) for kind, body in _resources(MODULE) if "iam_member" in kind]
    assert sorted(rights) == [
        ("google_cloud_run_v2_service_iam_member", "roles/run.invoker"),
        ("google_cloudfunctions2_function_iam_member", "roles/cloudfunctions.viewer"),
        ("google_project_iam_member", "roles/managedkafka.client"),
        ("google_secret_manager_secret_iam_member", "roles/secretmanager.secretAccessor"),
    ]
    text = "".join(file.read_text() for file in FILES)
    assert "allUsers" not in text
    assert "allAuthenticatedUsers" not in text
    functions = [body for kind, body in _resources(EXAMPLE) if kind == "google_cloudfunctions2_function"]
    assert [body["service_config"][0]["ingress_settings"] for body in functions] == ['"ALLOW_INTERNAL_ONLY"']


def test_the_pool_starts_after_its_rights() -> None:
    """It depends on each right of its account, and on what the caller names: nothing that it needs comes after it."""
    [pool] = [body for kind, body in _resources(MODULE) if kind == "google_cloud_run_v2_worker_pool"]
    rights = {
        f"{kind.strip(chr(34))}.{name.strip(chr(34))}"
        for group in hcl2.loads((MODULE / "iam.tf").read_text())["resource"]
        for kind, named in group.items()
        for name in named
        if "iam_member" in kind
    }
    assert len(rights) == 4
    assert {each.strip("${}") for each in pool["depends_on"]} == rights | {"var.after"}


_RIGHTS = """
locals { manifest = jsondecode(file("manifest.json")) }
output "acls" { value = { for id, rules in local.acls : id => sort([for rule in rules : "${rule.principal} ${rule.operation}"]) } }
"""
_APP = """
from bindings import Retry, on_stream


@on_stream("orders", emits="checked", retry=Retry(then="pause"))
def check(order: dict) -> dict:
    return order


@on_stream("checked", order="none", retry=Retry(then="drop"))
def count(order: dict) -> None:
    pass
"""


def _terraform(folder: Path, *words: str) -> str:
    if shutil.which("terraform") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no terraform")
        pytest.skip("there is no terraform")
    done = subprocess.run(
        ["terraform", f"-chdir={folder}", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_rights_are_those_of_any_kafka(tmp_path: Path) -> None:
    """One ACL for each resource by Google's name, with the rules that kafka-topics has: the control stream written for a function that
    pauses itself, no dead letters for one that drops, the count of redrives; and producers are not shut out."""
    folder = tmp_path / "examples" / "gcp"
    requirements = Path("modules", "kafka-topics", "modules", "requirements")
    shutil.copytree(ROOT / "terraform" / requirements, tmp_path / requirements)
    folder.mkdir(parents=True)
    for name in ("rights.tf", "variables.tf"):
        shutil.copy2(EXAMPLE / name, folder)
    (folder / "main.tf").write_text(_RIGHTS)
    (tmp_path / "rights_app.py").write_text(_APP)
    (folder / "manifest.json").write_text(Manifest.of(discover(str(tmp_path / "rights_app.py")), app="shop").to_json())
    producer, operator = "User:shop@p.iam.example", "User:anna@example.com"
    given = {"project": "p", "image": "i", "source_bucket": "b", "producers": [producer], "operators": [operator]}
    (folder / "terraform.tfvars.json").write_text(json.dumps(given))
    _terraform(folder, "get", "-no-color")
    _terraform(folder, "apply", "-auto-approve", "-no-color")
    acls = json.loads(_terraform(folder, "output", "-json", "acls"))
    assert {
        id_: [rule.removeprefix("User:dispatcher ") for rule in rules if "@" not in rule] for id_, rules in acls.items()
    } == {
        "topic/orders": ["READ"],
        "topic/checked": ["READ", "WRITE"],
        "topic/orders.check.dead": ["WRITE"],
        "topic/orders.check.retry": ["READ"],
        "topic/checked.count.retry": ["READ", "WRITE"],
        "topic/_dispatch.control.shop": ["READ", "WRITE"],
        "topic/_dispatch.journal.shop": [],
        "consumerGroup/shop.check": ["READ"],
        "consumerGroup/shop.check.redrive": ["DESCRIBE"],
        "consumerGroup/shop.count": ["READ"],
        "consumerGroupPrefixed/shop.check.": [],
        "consumerGroupPrefixed/shop.count.": [],
    }
    written = {id_ for id_, rules in acls.items() if f"{producer} WRITE" in rules}
    assert written == {"topic/orders", "topic/checked"}
    assert f"{operator} READ" in acls["consumerGroupPrefixed/shop.check."]


def test_the_page_puts_the_token_into_the_image(tmp_path: Path) -> None:
    """What docs/deploy/google.md has typed, up to the build: kafka_token.py is let in, and copied beside dispatch.toml."""
    page = (ROOT / "docs" / "deploy" / "google.md").read_text()
    [block] = [
        each for each in re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "dispatch init" in each
    ]
    typed = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("docker "))
    (tmp_path / "dispatch").symlink_to(ROOT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", typed], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True, timeout=60)
    project = tmp_path / "shop"
    assert "!kafka_token.py" in (project / ".dockerignore").read_text().splitlines()
    assert "COPY dispatch.toml kafka_token.py /src/" in (project / "Dockerfile").read_text().splitlines()
    assert (project / "kafka_token.py").read_bytes() == (EXAMPLE / "kafka_token.py").read_bytes()
    assert (project / "functions" / "check_limit").is_dir()


def test_the_examples_files_can_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The manifest is what this version writes, the configuration is read, and terraform fmt has nothing to change."""
    manifest = Manifest.read((EXAMPLE / "manifest.json").read_bytes())
    declared = discover(str(ROOT / "functions"))
    targets = {each.name: "google_function" for each in declared}
    assert manifest == Manifest.of(declared, app="shop", targets=targets)
    for name in ("DISPATCH_CONFIG", "DISPATCH_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy2(EXAMPLE / "dispatch.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert set(load().functions) == {each.name for each in manifest.functions}
    if shutil.which("terraform"):
        for folder in (MODULE, EXAMPLE):
            done = subprocess.run(
                ["terraform", f"-chdir={folder}", "fmt", "-check", "-diff"], capture_output=True, check=False
            )
            assert (done.returncode, done.stdout) == (0, b""), done.stderr


def test_the_token_is_of_the_form_that_managed_kafka_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three parts in base64url without padding: the header, who and until when, and Google's access token."""
    expires = datetime(2030, 1, 1, 1)  # noqa: DTZ001 - google-auth's are naive
    account = SimpleNamespace(
        token="ya29.access", expiry=expires, service_account_email="shop@p.iam.example", refresh=lambda _: None
    )
    monkeypatch.setattr(google.auth, "default", lambda scopes: (account, "p"))
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    from kafka_token import token

    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token().split(".")]
    assert json.loads(parts[0]) == {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    claims = json.loads(parts[1])
    assert (claims["iss"], claims["sub"], claims["scope"]) == ("Google", "shop@p.iam.example", "kafka")
    assert claims["exp"] == datetime(2030, 1, 1, 1, tzinfo=UTC).timestamp()
    assert parts[2] == b"ya29.access"
