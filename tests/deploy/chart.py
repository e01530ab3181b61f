"""Helm's renderer and Kubernetes' published schemas, by Go's own client: what the tests of the chart stand on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from jsonschema import Draft202012Validator

__all__ = ["GoUnavailable", "Rendered", "Schemas", "find_go", "make_renderer", "render"]

CHART: Final = Path(__file__).parent.parent.parent / "deploy/helm/dispatch"
_SOURCE: Final = Path(__file__).parent / "helm"
#: Module -> version and what Go's checksum database says of it. Kubernetes' schemas, and KEDA's.
_MODULES: Final = {
    "k8s.io/kubernetes": ("v1.34.0", "h1:NvUrwPAVB4W3mSOpJ/RtNGHWWYyUP/xPaX5rUSpzA0w="),
    "github.com/kedacore/keda/v2": ("v2.17.2", "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk="),
}


class GoUnavailable(Exception):
    """Raised when there is no Go here, or it can't fetch modules; the message says why."""


def find_go() -> str:
    """Where Go is, 1.24 or newer."""
    found = shutil.which("go")
    if found is None:
        raise GoUnavailable("go can't be found")
    version = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = version.removeprefix("go").split(".")
    if [int(number) for number in numbers[:2] if number.isdigit()] < [1, 24]:
        raise GoUnavailable(f"{version or 'this go'} is older than 1.24")
    return found


def make_renderer(go: str, folder: Path) -> Path:
    """Build the program that lints and renders: a minute and a half of one core, a few seconds with Go's cache."""
    program = folder / "helm"
    # Not optimised: it runs for a tenth of a second.
    command = [
        go,
        "build",
        "-mod=readonly",
        "-trimpath",
        "-gcflags=all=-N -l",
        "-ldflags=-s -w",
        "-o",
        str(program),
        ".",
    ]
    _go(command, cwd=_SOURCE)
    return program


class Rendered(NamedTuple):
    """What Helm makes of the chart with some values."""

    lint: list[str]
    error: str
    documents: dict[str, dict[str, Any]]
    notes: str


def render(program: Path, values: Mapping[str, Any], chart: Path = CHART) -> Rendered:
    """Lint and render the chart; documents are by their kind."""
    done = subprocess.run(
        [str(program), str(chart)], input=yaml.safe_dump(dict(values)), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    files = answer["files"] or {}
    documents = [
        document
        for name, text in files.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    notes = "".join(text for name, text in files.items() if name.endswith("NOTES.txt"))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return Rendered(answer["lint"], answer["error"], by_kind, notes)


class Schemas:
    """The schemas of Kubernetes' API as its source publishes them, and of KEDA's ScaledObject."""

    def __init__(self, go: str, folder: Path) -> None:
        wanted = [f"{module}@{version}" for module, (version, _sum) in _MODULES.items()]
        printed = _go([go, "mod", "download", "-json", *wanted], cwd=folder)
        places = {}
        for found in _objects(printed):
            assert found["Sum"] == _MODULES[found["Path"]][1], found
            places[found["Path"]] = Path(found["Dir"])
        self._kubernetes = places["k8s.io/kubernetes"] / "api/openapi-spec/v3"
        self._keda = places["github.com/kedacore/keda/v2"] / "config/crd/bases"

    def faults(self, document: Mapping[str, Any]) -> list[str]:
        """What is wrong with a document by its schema; a field that the schema does not name is wrong too."""
        validator = Draft202012Validator(_closed(self._schema(document["apiVersion"], document["kind"])))
        return [
            f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(document)
        ]

    def _schema(self, version: str, kind: str) -> dict[str, Any]:
        group, _, number = version.rpartition("/")
        if group == "keda.sh":
            definition = yaml.safe_load((self._keda / f"keda.sh_{kind.lower()}s.yaml").read_text())
            [schema] = [
                each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == number
            ]
            return schema | {"properties": schema["properties"] | {"metadata": {"type": "object"}}}
        path = (
            f"apis__{group}{'' if '.' in group or group in _BARE else '.k8s.io'}__{number}"
            if group
            else f"api__{number}"
        )
        specification = json.loads((self._kubernetes / f"{path}_openapi.json").read_text())
        wanted = {"group": group, "kind": kind, "version": number}
        [name] = [
            name
            for name, schema in specification["components"]["schemas"].items()
            if wanted in schema.get("x-kubernetes-group-version-kind", ())
        ]
        return {"$ref": f"#/components/schemas/{name}", "components": specification["components"]}


_BARE: Final = frozenset({"apps", "policy", "batch", "autoscaling"})


def _closed(schema: Any) -> Any:
    """The same with no room for fields that it does not name, as the API server has it with strict validation."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    open_on_purpose = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_on_purpose:
        closed["additionalProperties"] = False
    return closed


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text.rstrip()):
        found, position = decoder.raw_decode(text, position)
        yield found
        position += len(text[position:]) - len(text[position:].lstrip())


def _go(command: list[str], *, cwd: Path) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    if done.returncode != 0:
        raise GoUnavailable(f"{' '.join(command[:3])}: {(done.stderr or done.stdout)[-2_000:]}")
    return done.stdout
