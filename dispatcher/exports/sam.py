"""The functions' part of an AWS SAM template: what a dispatcher calls, and the one permission that it needs.

The document follows https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from bindings.manifest import FunctionEntry, Manifest
from dispatcher.exports.export import Export, logical_ids

__all__ = ["ALIAS", "HANDLER", "sam"]

HANDLER = "bindings.hosts.lambda_function.lambda_handler"
#: What the dispatcher calls, so that a version is taken back by pointing the alias elsewhere.
ALIAS = "live"
_LONGEST = 900
_RUNTIME = "python3.13"
_LAYER = "BindingsLayer"


def sam(manifest: Manifest) -> Export:
    """One ``AWS::Serverless::Function`` a function with its alias, the layer with ``bindings`` that they share, and a policy that
    lets a dispatcher call these aliases.

    The layer is built by ``layer/Makefile`` beside the template.
    """
    ids = {name: f"{base}Function" for name, base in logical_ids(manifest.functions).items()}
    arns = [{"Fn::Sub": f"${{{ids[each.name]}.Arn}}:{ALIAS}"} for each in manifest.functions]
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Description": f"The functions of {manifest.app}, called by a dispatcher",
        "Globals": {"Function": {"Runtime": _RUNTIME, "MemorySize": 256, "Layers": [{"Ref": _LAYER}]}},
        "Resources": {
            **{ids[each.name]: _function(each) for each in manifest.functions},
            _LAYER: {
                "Type": "AWS::Serverless::LayerVersion",
                "Properties": {
                    "LayerName": {"Fn::Sub": "${AWS::StackName}-bindings"},
                    "ContentUri": "layer/",
                    "CompatibleRuntimes": [_RUNTIME],
                    "RetentionPolicy": "Delete",
                },
                "Metadata": {"BuildMethod": "makefile"},
            },
            "DispatcherPolicy": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "Description": f"Lets a dispatcher of {manifest.app} call its functions",
                    "PolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arns}],
                    },
                },
            },
        },
        "Outputs": {
            **{
                f"{ids[each.name]}Alias": {"Description": f"The target of {each.name}", "Value": arn}
                for each, arn in zip(manifest.functions, arns, strict=True)
            },
            "DispatcherPolicy": {
                "Description": "To attach to the dispatcher's role",
                "Value": {"Ref": "DispatcherPolicy"},
            },
        },
    }
    return Export(document, tuple(f"{each.name}: {said}" for each in manifest.functions for said in _not_said(each)))


def _function(entry: FunctionEntry) -> dict[str, Any]:
    return {
        "Type": "AWS::Serverless::Function",
        "Properties": {
            "FunctionName": {"Fn::Sub": f"${{AWS::StackName}}-{entry.name}"},
            # The folder that the reference's imports begin at.
            "CodeUri": ".",
            "Handler": HANDLER,
            "Timeout": _timeout(entry.timeout),
            "AutoPublishAlias": ALIAS,
            # A call that hands over and no more is not tried again by Lambda: retries are the dispatcher's.
            "EventInvokeConfig": {"MaximumRetryAttempts": 0},
            "Environment": {"Variables": {"DISPATCH_FUNCTION": entry.reference}},
        },
    }


def _timeout(seconds: float) -> int:
    """Below the dispatcher's: what it gives up would run on in Lambda, beside the next attempt."""
    return max(1, min(_LONGEST, math.ceil(seconds) - 1))


def _not_said(entry: FunctionEntry) -> Iterator[str]:
    written = _timeout(entry.timeout)
    if entry.timeout > _LONGEST + 1:
        yield f"timeout: {entry.timeout:g} s; Lambda ends a function after {_LONGEST} s"
    elif entry.timeout <= written:
        yield (
            f"timeout: {entry.timeout:g} s is not above Lambda's {written} s, its least: an attempt that is given up here may"
            " still run there beside the next one"
        )
    if entry.target != "aws_lambda":
        yield (
            f"target: it is {entry.target!r} in the configuration; once this is deployed set [functions.{entry.name}] target ="
            f' {{ type = "aws_lambda", function = "<stack>-{entry.name}", qualifier = "{ALIAS}" }}'
        )
    if any(ord(letter) > 127 or not (letter.isalnum() or letter in "-_") for letter in entry.name):
        yield f"name: {entry.name!r} can't be a part of a Lambda function's name: change FunctionName"
