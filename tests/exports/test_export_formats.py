"""``dispatch manifest --format``: what is written is taken by the tools that it is for, and what it leaves out is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bound
import pytest
from cfnlint.api import ManualArgs, lint

from bindings import bindings_of
from bindings.discovery import discover
from bindings.manifest import Manifest
from dispatcher.exports import FORMATS, Export, event_source_mapping, sam, tfvars

ROOT = Path(__file__).parent.parent.parent


def manifest_of(*functions: Any) -> Manifest:
    """The manifest of functions of an app."""
    return Manifest.of([binding for each in functions for binding in bindings_of(each)], app="shop")


@pytest.fixture(scope="module")
def examples() -> Manifest:
    """The manifest of the example functions."""
    return Manifest.of(discover(str(ROOT / "functions")), app="shop")


def complaints(document: dict[str, Any]) -> list[str]:
    """What cfn-lint says against a template, warnings and all."""
    config = ManualArgs(regions=["eu-west-1"], include_checks=["I"])
    return [f"{found.rule.id} {found.message}" for found in lint(json.dumps(document), config=config)]


def policies(export: Export, function: str) -> list[str]:
    """The policies that the warnings of a function name."""
    return [said.split(": ")[1] for said in export.warnings if said.startswith(f"{function}: ")]


def mapping(export: Export, name: str) -> dict[str, Any]:
    """The properties of a mapping."""
    found: dict[str, Any] = export.document["Resources"][name]["Properties"]
    return found


@pytest.mark.parametrize("write", [sam, event_source_mapping])
def test_the_templates_are_what_cloudformation_takes(write: Any, examples: Manifest) -> None:
    """cfn-lint, which knows the resources' schemas, finds nothing in the templates of the examples and of every policy here; it
    does in one with a property that there is none of."""
    for manifest in (examples, manifest_of(bound.plain, bound.near, bound.far, bound.pausing)):
        document = write(manifest).document
        assert complaints(document) == []
        first = next(iter(document["Resources"].values()))
        first["Properties"]["Retries"] = 3
        assert any("Retries" in said for said in complaints(document))


def test_sam_is_functions_with_an_alias_and_one_permission(examples: Manifest) -> None:
    """Each function is run by the host that needs no code of its own, ends before the dispatcher gives it up, and has the alias
    that is called; a layer holds that host; the policy allows to invoke these aliases and nothing else."""
    resources = sam(examples).document["Resources"]
    check = resources["CheckLimitFunction"]["Properties"]
    assert check["Handler"] == "bindings.hosts.lambda_function.lambda_handler"
    assert check["Environment"] == {"Variables": {"DISPATCH_FUNCTION": "functions.check_limit.function:check_limit"}}
    assert (check["Timeout"], check["AutoPublishAlias"]) == (59, "live")
    assert check["EventInvokeConfig"] == {"MaximumRetryAttempts": 0}
    # Where that host comes from: without it a function that is built and deployed fails in its first call.
    assert sam(examples).document["Globals"]["Function"]["Layers"] == [{"Ref": "BindingsLayer"}]
    layer = resources["BindingsLayer"]
    assert (layer["Properties"]["ContentUri"], layer["Metadata"]) == ("layer/", {"BuildMethod": "makefile"})
    [statement] = resources["DispatcherPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "lambda:InvokeFunction",
        "Resource": [
            {"Fn::Sub": f"${{{each}Function.Arn}}:live"} for each in ("CheckLimit", "ConfirmOrder", "FlagAnomaly")
        ],
    }


def test_the_timeout_in_lambda_ends_before_the_dispatchers() -> None:
    """What is given up here runs on there, so Lambda's comes first; where it can't, a warning names the policy."""
    export = sam(manifest_of(bound.plain, bound.near, bound.far, bound.pausing))
    assert [each["Properties"].get("Timeout") for each in export.document["Resources"].values()][:4] == [59, 29, 900, 1]
    assert policies(export, "near") == ["target"]
    assert policies(export, "far") == ["timeout", "target"]
    assert policies(export, "pausing") == ["timeout", "target"]
    deployed = Manifest.of(list(bindings_of(bound.near)), app="shop", targets={"near": "aws_lambda"})
    assert sam(deployed).warnings == ()


def test_variables_are_the_manifest_without_what_no_module_reads(examples: Manifest) -> None:
    """One variable, ``manifest``: the document, but for the events' JSON Schemas."""
    export = tfvars(examples)
    assert list(export.document) == ["manifest"]
    there, whole = export.document["manifest"], examples.to_dict()
    assert "json_schema" not in json.dumps(there)
    for function in whole["functions"]:
        assert function["event"].pop("json_schema")
    assert there == whole
    assert export.warnings == ()


def test_what_a_mapping_can_say_it_says() -> None:
    """Batches, the budget, the age, the place of dead letters and the start, in Lambda's words and numbers."""
    export = event_source_mapping(manifest_of(bound.near))
    said = mapping(export, "NearMapping")
    assert {name: said[name] for name in list(said)[6:]} == {
        "Topics": ["orders"],
        "StartingPosition": "LATEST",
        "BatchSize": 500,
        "MaximumBatchingWindowInSeconds": 5,
        "BisectBatchOnFunctionError": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ProvisionedPollerConfig": {"MinimumPollers": {"Ref": "MinimumPollers"}},
        "MaximumRetryAttempts": 3,
        "MaximumRecordAgeInSeconds": 3600,
        "DestinationConfig": {"OnFailure": {"Destination": "kafka://orders.dead"}},
    }
    assert said["AmazonManagedKafkaEventSourceConfig"]["Fn::If"][1] == {"ConsumerGroupId": "shop.near"}
    assert said["SelfManagedKafkaEventSourceConfig"]["Fn::If"][2] == {"ConsumerGroupId": "shop.near"}
    # Even here attempts are a batch's, waits unknown, and dead letters wrapped.
    assert policies(export, "near") == ["retry", "retry", "retry", "dead_letter"]


def test_what_a_mapping_cannot_say_is_a_warning_that_names_the_policy() -> None:
    """Every policy that is lost or kept otherwise is named, in the order of the document, and what is written instead is valid."""
    export = event_source_mapping(manifest_of(bound.plain, bound.far, bound.pausing))
    assert policies(export, "plain") == ["order", "concurrency", "retry", "retry", "retry", "dead_letter"]
    assert policies(export, "far") == [
        *("streams", "order", "concurrency", "batch", "batch", "retry", "retry", "retry", "retry"),
        *("rate", "timeout", "emits", "start", "where"),
    ]
    assert policies(export, "pausing") == ["order", "concurrency", "batch", "retry", "retry", "retry", "where"]
    far = [mapping(export, f"FarMapping{number}") for number in (1, 2)]
    assert [each["Topics"] for each in far] == [["orders"], ["refunds"]]
    assert [each["AmazonManagedKafkaEventSourceConfig"]["Fn::If"][1]["ConsumerGroupId"] for each in far] == [
        "shop.far.orders",
        "shop.far.refunds",
    ]
    for each in far:
        assert "FilterCriteria" not in each
        assert "DestinationConfig" not in each
        assert (each["BatchSize"], each["MaximumBatchingWindowInSeconds"]) == (10_000, 1)
        assert (each["MaximumRecordAgeInSeconds"], each["StartingPosition"]) == (60, "TRIM_HORIZON")
    pausing = mapping(export, "PausingMapping")
    assert (pausing["MaximumRetryAttempts"], pausing["StartingPositionTimestamp"]) == (-1, 1_767_225_600)
    [pattern] = pausing["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"]) == {"value": {"total": [{"numeric": [">", 100.0]}], "country": ["DE", "FR"]}}


def test_the_command_writes_each_format(dispatch: Any) -> None:
    """Stdout is the document alone, warnings are on stderr, --check compares what the document says, and mistakes are told."""
    dispatch.write("app.py", (Path(bound.__file__)).read_text())
    for form, write in FORMATS.items():
        done = dispatch("manifest", "--format", form)
        assert done.code == 0, done.stderr
        sys.modules.pop("app", None)
        declared = Manifest.of(discover("app.py", root=dispatch.folder), app="shop")
        assert done.json == json.loads(json.dumps(write(declared).document))
        assert done.stderr.count("warning: ") == len(write(declared).warnings)
        dispatch.write("there.json", json.dumps(done.json))
        assert dispatch("manifest", "--format", form, "--check", "there.json").code == 0
        other = dispatch("manifest", "--app", "other", "--format", form, "--check", "there.json")
        assert other.code == 1
        assert f"dispatch manifest --format {form} > there.json" in other.stderr
    dispatch.write("there.json", "not JSON")
    done = dispatch("manifest", "--format", "sam", "--check", "there.json")
    assert (done.code, "not JSON" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
