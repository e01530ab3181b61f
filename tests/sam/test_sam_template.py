"""sam/: the template is built, packaged, deployed on moto, and its functions do their work for a dispatcher on a real Kafka."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from cfnlint.api import lint_all
from kafka_server import KafkaCluster
from lambda_server import REGION, LambdaServer, credentials
from moto_aliases import teach_moto_aliases
from moto_server import moto_server

from bindings.discovery import discover
from bindings.envelopes import aws_kafka
from bindings.manifest import Manifest
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.core.record import Outgoing
from dispatcher.exports import sam

ROOT = Path(__file__).parent.parent.parent
SAM = ROOT / "sam"
_TRANSLATE = """
import sys, yaml, json, boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samcli.yamlhelper import yaml_parse
given = yaml_parse(open(sys.argv[1]).read())
parameters = {name: each["Default"] for name, each in given.get("Parameters", {}).items()}
print(json.dumps(Translator({}, Parser(), boto_session=boto3.Session(region_name="eu-west-1")).translate(given, parameters)))
"""


def template() -> dict[str, Any]:
    """sam/template.yaml, with the short forms of CloudFormation's functions written out."""

    class Loader(yaml.SafeLoader):
        pass

    def tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
        assert isinstance(node, yaml.ScalarNode)
        return {"Ref" if tag == "Ref" else f"Fn::{tag}": loader.construct_scalar(node)}

    Loader.add_multi_constructor("!", tagged)
    read: dict[str, Any] = yaml.load((SAM / "template.yaml").read_text(), Loader)  # noqa: S506 - a SafeLoader
    return read


def test_the_template_is_what_the_manifest_says() -> None:
    """It is written by hand, with folders and comments; what it shares with ``dispatch manifest --format sam`` is the same, so a
    function, a time-out or a right that is missing in it is found."""
    there = template()
    written = sam(Manifest.of(discover(str(ROOT / "functions")), app="shop")).document
    assert set(there["Outputs"]) == set(written["Outputs"])
    assert (
        there["Globals"]["Function"]["Handler"] == written["Resources"]["CheckLimitFunction"]["Properties"]["Handler"]
    )
    shared = {"FunctionName", "Timeout", "AutoPublishAlias", "EventInvokeConfig", "PolicyDocument"}
    shared |= {"LayerName", "ContentUri", "RetentionPolicy"}
    assert there["Globals"]["Function"]["Layers"] == written["Globals"]["Function"]["Layers"]
    assert there["Globals"]["Function"]["MemorySize"] == written["Globals"]["Function"]["MemorySize"]
    for name, resource in written["Resources"].items():
        mine, said = there["Resources"][name], resource["Properties"]
        assert (mine["Type"], mine.get("Metadata")) == (resource["Type"], resource.get("Metadata"))
        for key in shared & set(said):
            assert mine["Properties"][key] == said[key], (name, key)
        if resource["Type"] == "AWS::Serverless::Function":
            # Its folder is the root of the package: the rest of the reference is within it.
            folder = mine["Properties"]["CodeUri"].strip("./").replace("/", ".")
            named = mine["Properties"]["Environment"]["Variables"]["DISPATCH_FUNCTION"]
            assert f"{folder}.{named}" == said["Environment"]["Variables"]["DISPATCH_FUNCTION"]


def test_each_event_stands_beside_what_is_expected() -> None:
    """Every event is one of Lambda's for Kafka, with one record of the examples' stream, and has its results beside it."""
    names = {path.name for path in (SAM / "events").iterdir()}
    events = {name for name in names if not name.endswith(".expected.json")}
    assert {name.replace(".json", ".expected.json") for name in events} == names - events
    for name in events:
        [record] = aws_kafka.decode(json.loads((SAM / "events" / name).read_text()))
        assert record.topic == "orders.enriched"


@pytest.fixture(scope="module")
def command() -> str:
    """AWS SAM's command, of scripts/sam; skipped where it or make is absent, which is a failure in CI."""
    found = ROOT / "build" / "sam" / "bin" / "sam"
    if not found.exists() or shutil.which("make") is None:
        reason = "there is no AWS SAM: scripts/sam --version installs it; or there is no make"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(found)


def test_what_the_manifest_writes_translates(command: str, tmp_path: Path) -> None:
    """AWS's own translator makes of ``--format sam`` a function, a version and an alias each."""
    document = sam(Manifest.of(discover(str(ROOT / "functions")), app="shop")).document
    for resource in document["Resources"].values():
        for place in {"CodeUri", "ContentUri"} & set(resource["Properties"]):
            resource["Properties"][place] = "s3://bucket/key"  # as `sam package` leaves it
    (tmp_path / "template.json").write_text(json.dumps(document))
    python = str(Path(command).parent / "python")
    done = subprocess.run(
        [python, "-c", _TRANSLATE, "template.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    names = {kind: [] for kind in ("Function", "Version", "Alias")}
    for name, resource in json.loads(done.stdout)["Resources"].items():
        if resource["Type"].startswith("AWS::Lambda::") and (kind := resource["Type"].rpartition(":")[2]) in names:
            names[kind].append(name)
    assert names["Alias"] == [f"{each}FunctionAliaslive" for each in ("CheckLimit", "ConfirmOrder", "FlagAnomaly")]
    assert [len(each) for each in names.values()] == [3, 3, 3]


def make_wheel(folder: Path) -> None:
    """Put this checkout's wheel into a folder, as the documentation says, with nothing fetched for it."""
    words = ("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT))
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_what_a_new_project_has_is_built(command: str, dispatch: Any) -> None:
    """``sam build`` of what ``dispatch init`` makes, on this machine's Python: with the package and its layer alone the handler finds
    the function, and neither ``bindings`` nor pydantic is from elsewhere."""
    assert dispatch("init", "corner-shop").code == 0
    project = dispatch.folder / "corner-shop"
    make_wheel(project / "layer")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("template.yaml", "layer/Makefile"):
        text = (project / name).read_text()
        assert "3.13" in text
        (project / name).write_text(text.replace("3.13", version))
    environ = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION}
    environ["PATH"] = f"{Path(command).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run([command, "build"], cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = project / ".aws-sam" / "build"
    layer, function = built / "BindingsLayer" / "python", built / "ReviewLargeFunction"
    resources = json.loads((project / "template.yaml").read_text())["Resources"]
    variables = resources["ReviewLargeFunction"]["Properties"]["Environment"]["Variables"]
    program = "import bindings.hosts.lambda_function, pydantic; print(bindings.__file__, pydantic.__file__, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],  # without this machine's packages
        cwd=function,
        env={
            **variables,
            "LAMBDA_TASK_ROOT": str(function),
            "PYTHONPATH": os.pathsep.join((str(function), str(layer))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [Path(line).parents[1] for line in done.stdout.splitlines()] == [layer, layer]


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """AWS by moto, with the aliases of functions; nothing is invoked there."""
    teach_moto_aliases(monkeypatch)
    with moto_server() as url:
        yield url


class Stack:
    """The template, built, packaged and created as a stack."""

    def __init__(self, command: str, folder: Path, aws: str) -> None:
        self._command, self._folder, self._aws = command, folder, aws
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._python = str(Path(command).parent / "python")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **credentials(),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": aws,
            "SAM_CLI_TELEMETRY": "0",
            "PATH": f"{Path(command).parent}{os.pathsep}{os.environ['PATH']}",
        }
        ignored = shutil.ignore_patterns("__pycache__", ".aws-sam", "*.whl")
        for name in ("sam", "functions"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        file = folder / "sam" / "template.yaml"
        text = file.read_text().replace("Default: python3.13", f"Default: {version}")
        assert version in text
        file.write_text(text)

    def run(self, *command: str) -> str:
        """Run a command in the folder of the template."""
        done = subprocess.run(
            command,
            cwd=self._folder / "sam",
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def create(self) -> Mapping[str, str]:
        """Build, package, translate, check and create it; returns its outputs."""
        make_wheel(self._folder / "sam" / "layer")
        assert "is a valid SAM Template" in self.run(self._command, "validate")  # samconfig.toml has it linted
        self.run(self._command, "build")
        self._client("s3").create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        self.run(self._command, "package", "--s3-bucket", "artifacts", "--output-template-file", "packaged.yaml")
        translated = json.loads(self.run(self._python, "-c", _TRANSLATE, "packaged.yaml"))
        assert [str(found) for found in lint_all(json.dumps(translated)) if found.rule.id.startswith("E")] == []
        client = self._client("cloudformation")
        client.create_stack(
            StackName="shop", TemplateBody=json.dumps(translated), Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        [stack] = client.describe_stacks(StackName="shop")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        self._translated = translated
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def deployed(self, name: str, alias: str) -> tuple[dict[str, Any], Path]:
        """What is behind the alias of a function: its configuration, and a folder with what its zip and its layer hold."""
        client = self._client("lambda")
        version = client.get_alias(FunctionName=name, Name=alias)["FunctionVersion"]
        assert version == "1"
        configuration = client.get_function(FunctionName=name, Qualifier=version)["Configuration"]
        folder = self._folder / "deployed" / name
        resources = self._translated["Resources"]
        called = {"Fn::Sub": name.replace("shop-", "${AWS::StackName}-")}
        [function] = [
            each["Properties"]
            for each in resources.values()
            if each["Type"] == "AWS::Lambda::Function" and each["Properties"]["FunctionName"] == called
        ]
        [layer] = function["Layers"]
        for place in (function["Code"], resources[layer["Ref"]]["Properties"]["Content"]):
            got = self._client("s3").get_object(Bucket=place["S3Bucket"], Key=place["S3Key"])["Body"].read()
            zipfile.ZipFile(io.BytesIO(got)).extractall(folder)
        found: dict[str, Any] = configuration
        return found, folder

    def _client(self, service: str) -> Any:
        keys = credentials()
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self._aws,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )


@pytest.mark.kafka
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("default")  # moto's own, which would end its requests
async def test_a_dispatcher_calls_the_stack(
    command: str, moto: str, kafka_cluster: KafkaCluster, dispatch: Any, tmp_path: Path
) -> None:
    """``sam validate``, ``build`` and ``package``, the translated stack, events into a real Kafka, a local dispatcher with
    sam/dispatch.toml whose targets are the stack's aliases: every result and dead letter is the one beside the event."""
    stack = Stack(command, tmp_path / "checkout", moto)
    outputs = await asyncio.to_thread(stack.create)
    arns = {name: arn for name, arn in outputs.items() if name.endswith("Alias")}
    assert set(arns) == {"CheckLimitFunctionAlias", "ConfirmOrderFunctionAlias", "FlagAnomalyFunctionAlias"}
    names = {name: name.rpartition("function:")[2].split(":") for name in arns.values()}

    cases = {path.stem: path for path in (SAM / "events").glob("*.json") if not path.stem.endswith(".expected")}
    expected: dict[str, list[str]] = {}
    async with KafkaBroker(kafka_cluster.bootstrap()) as broker:
        await broker.create_stream(StreamInfo(name="orders.enriched", partitions=2))
        producer = await broker.producer()
        for name, path in cases.items():
            for record in aws_kafka.decode(json.loads(path.read_text())):
                await producer.send(Outgoing(topic="orders.enriched", value=record.value, key=record.key))
            for stream, values in json.loads((SAM / "events" / f"{name}.expected.json").read_text()).items():
                expected.setdefault(stream, []).extend(json.dumps(value, sort_keys=True) for value in values)
        await producer.close()

    dispatch.write("dispatch.toml", (SAM / "dispatch.toml").read_text())
    shutil.copytree(ROOT / "functions", dispatch.folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    async with LambdaServer(tmp_path) as server:
        for name, alias in names.values():
            configuration, folder = await asyncio.to_thread(stack.deployed, name, alias)
            await server.add(
                name,
                configuration["Handler"],
                path=Path(os.pathsep.join((str(folder), str(folder / "python")))),
                environment=configuration["Environment"]["Variables"],
            )
        dispatch.environ |= {
            **credentials(),
            "AWS_ENDPOINT_URL_LAMBDA": server.url,
            "DISPATCH_BROKER": f"kafka://{kafka_cluster.bootstrap()}",
        }
        done = await asyncio.to_thread(dispatch, "run", "functions/", "--until-caught-up")
        assert done.code == 1, done.stderr  # there is a dead letter
        assert {tuple(names[arn]) for arn in arns.values()} == {
            (request.function, request.qualifier) for request in server.requests
        }
        assert server.bad_signatures == 0
    found = {}
    for stream in expected:
        lines = (await asyncio.to_thread(dispatch, "streams", "tail", stream, "--json")).stdout.splitlines()
        found[stream] = sorted(json.dumps(json.loads(line)["value"], sort_keys=True) for line in lines)
    assert found == {stream: sorted(values) for stream, values in expected.items()}
