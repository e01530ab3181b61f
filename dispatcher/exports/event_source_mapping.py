"""A binding as AWS's own trigger: ``AWS::Lambda::EventSourceMapping`` for MSK and for Kafka elsewhere.

For those who start from that trigger. It delivers with fewer promises than a dispatcher; whatever the binding says and the
mapping can't is a warning that names the policy. The properties, their ranges and defaults are those of
https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html; retries, batches in halves and dead letters
need its provisioned mode (https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bindings.manifest import FunctionEntry, Manifest
from dispatcher.exports.export import Export, logical_ids
from dispatcher.exports.patterns import Untranslatable, patterns

__all__ = ["event_source_mapping"]

_PAYLOAD = 6_000_000
_DEFAULT_WAIT, _MAX_WAIT = 0.5, 300
_MIN_AGE, _MAX_AGE = 60, 604_800
_MAX_TIMEOUT = 840

_PARAMETERS: dict[str, dict[str, Any]] = {
    "ClusterArn": {"Type": "String", "Default": "none", "Description": "Of the MSK cluster; none for Kafka elsewhere"},
    "BootstrapServers": {
        "Type": "CommaDelimitedList",
        "Default": "localhost:9092",
        "Description": "host:port,... of Kafka elsewhere; not read for MSK",
    },
    "Authentication": {
        "Type": "String",
        "Default": "SASL_SCRAM_512_AUTH",
        "AllowedValues": ["SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH"],
        "Description": "What SecretArn holds",
    },
    "SecretArn": {
        "Type": "String",
        "Default": "none",
        "Description": "Of the Secrets Manager secret of the Kafka user; none for MSK with IAM",
    },
    "MinimumPollers": {
        "Type": "Number",
        "Default": 1,
        "MinValue": 1,
        "MaxValue": 200,
        "Description": "Of provisioned mode, which is billed by the hour; retries and dead letters need it",
    },
}


def event_source_mapping(manifest: Manifest) -> Export:
    """One mapping a function and stream, in a CloudFormation template whose parameters say where Kafka and the functions are."""
    ids = logical_ids(manifest.functions)
    resources: dict[str, Any] = {}
    warnings: list[str] = []
    for entry in manifest.functions:
        warnings.extend(f"{entry.name}: {said}" for said in _not_said(entry))
        for number, stream in enumerate(entry.streams, 1):
            suffix = str(number) if len(entry.streams) > 1 else ""
            resources[f"{ids[entry.name]}Mapping{suffix}"] = {
                "Type": "AWS::Lambda::EventSourceMapping",
                "Properties": _properties(entry, stream, f"{ids[entry.name]}Arn"),
            }
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The functions of {manifest.app}, invoked by AWS Lambda's own trigger for Kafka",
        "Parameters": {
            **_PARAMETERS,
            **{
                f"{ids[each.name]}Arn": {
                    "Type": "String",
                    "Description": f"Of the function {each.name}, or of its alias",
                }
                for each in manifest.functions
            },
        },
        "Conditions": {
            "IsMsk": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ClusterArn"}, "none"]}]},
            "HasSecret": {"Fn::Not": [{"Fn::Equals": [{"Ref": "SecretArn"}, "none"]}]},
        },
        "Resources": resources,
    }
    return Export(document, tuple(warnings))


def _properties(entry: FunctionEntry, stream: str, function: str) -> dict[str, Any]:
    group = {"ConsumerGroupId": _group(entry, stream)}
    position, _ = _start(entry.start)
    return {
        "FunctionName": {"Ref": function},
        "EventSourceArn": _when("IsMsk", {"Ref": "ClusterArn"}),
        "AmazonManagedKafkaEventSourceConfig": _when("IsMsk", group),
        "SelfManagedEventSource": _unless(
            "IsMsk", {"Endpoints": {"KafkaBootstrapServers": {"Ref": "BootstrapServers"}}}
        ),
        "SelfManagedKafkaEventSourceConfig": _unless("IsMsk", group),
        "SourceAccessConfigurations": _when(
            "HasSecret", [{"Type": {"Ref": "Authentication"}, "URI": {"Ref": "SecretArn"}}]
        ),
        "Topics": [stream],
        **position,
        "BatchSize": entry.batch.max_events,
        **_window(entry),
        **({"BisectBatchOnFunctionError": True} if entry.batch.max_events > 1 else {}),
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ProvisionedPollerConfig": {"MinimumPollers": {"Ref": "MinimumPollers"}},
        **_retries(entry, stream),
        **_filters(entry),
    }


def _when(condition: str, value: Any) -> dict[str, Any]:
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}


def _unless(condition: str, value: Any) -> dict[str, Any]:
    return {"Fn::If": [condition, {"Ref": "AWS::NoValue"}, value]}


def _group(entry: FunctionEntry, stream: str) -> str:
    """Each mapping needs a group of its own."""
    return entry.group if len(entry.streams) == 1 else f"{entry.group}.{stream}"


def _start(start: str) -> tuple[dict[str, Any], str | None]:
    """The starting position, and why it is not what was asked for."""
    if start in ("earliest", "latest"):
        return {"StartingPosition": "TRIM_HORIZON" if start == "earliest" else "LATEST"}, None
    if start.startswith("-"):
        said = f'start: a span back ("{start}") can\'t be said; TRIM_HORIZON is written, which leaves nothing out'
        return {"StartingPosition": "TRIM_HORIZON"}, said
    at = datetime.fromisoformat(start).timestamp()
    return {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": math.floor(at)}, None


def _window(entry: FunctionEntry) -> dict[str, Any]:
    """How long a batch waits: Lambda's default is ours, and once it is set it is whole seconds."""
    if entry.batch.max_events == 1 or entry.batch.max_wait == _DEFAULT_WAIT:
        return {}
    return {"MaximumBatchingWindowInSeconds": min(_MAX_WAIT, math.ceil(entry.batch.max_wait))}


def _retries(entry: FunctionEntry, stream: str) -> dict[str, Any]:
    retry, found = entry.retry, {}
    found["MaximumRetryAttempts"] = -1 if retry.then == "pause" else retry.max_attempts - 1
    if retry.max_age is not None and retry.then != "pause":
        found["MaximumRecordAgeInSeconds"] = max(_MIN_AGE, min(_MAX_AGE, math.ceil(retry.max_age)))
    if retry.then == "dead_letter":
        place = f"kafka://{entry.dead_letter.topics[stream]}"
        return {**found, "DestinationConfig": {"OnFailure": {"Destination": place}}}
    return found


def _filters(entry: FunctionEntry) -> dict[str, Any]:
    if entry.where is None:
        return {}
    try:
        found = patterns(entry.where)
    except Untranslatable:
        return {}
    # Lambda takes a pattern as text.
    return {"FilterCriteria": {"Filters": [{"Pattern": json.dumps(each)} for each in found]}}


def _not_said(entry: FunctionEntry) -> Iterator[str]:
    """What the mapping leaves out or does otherwise, each beginning with the policy."""
    yield from _of_order(entry)
    yield from _of_batches(entry)
    yield from _of_retries(entry)
    if entry.rate is not None:
        yield f"rate: {entry.rate:g} invocations a second can't be said; reserved concurrency bounds them in its way"
    if entry.timeout > _MAX_TIMEOUT:
        yield f"timeout: {entry.timeout:g} s; a function behind Kafka has {_MAX_TIMEOUT} s at most"
    if entry.emits is not None:
        yield f"emits: results go nowhere; the function itself must produce to {entry.emits}"
    _, said = _start(entry.start)
    if said:
        yield said
    if entry.where is not None:
        yield from _of_filter(entry.where)


def _of_order(entry: FunctionEntry) -> Iterator[str]:
    if len(entry.streams) > 1:
        yield (
            f"streams: a mapping takes one, so there are {len(entry.streams)}, each in a group of its own"
            f" ({entry.group}.<stream>), which does not go on where {entry.group} stands"
        )
    if entry.order == "key":
        yield (
            "order: \"key\" can't be said; the order is a partition's, so a failing event holds up its whole partition,"
            " and keys of one partition do not run beside each other"
        )
    elif entry.order == "none":
        yield (
            'order: "none" can\'t be said; a partition is in order, and a failing event holds it up'
            " (ConsumptionMode: Queue needs Kafka 4.2, and has no retries by itself)"
        )
    if entry.order != "partition":
        yield (
            f"concurrency: {entry.concurrency} invocations in a process can't be said; there is one a partition at a time"
        )


def _of_batches(entry: FunctionEntry) -> Iterator[str]:
    batch = entry.batch
    if batch.max_bytes != _PAYLOAD:
        yield f"batch: max_bytes={batch.max_bytes:,} can't be said; Lambda's payload of 6 MB is the limit"
    window = _window(entry).get("MaximumBatchingWindowInSeconds")
    if window is not None and window != batch.max_wait:
        yield f"batch: max_wait={batch.max_wait:g}; a mapping's is {window} s: whole seconds, {_MAX_WAIT} at most"
    if batch.group_by is not None:
        yield f'batch: group_by="{batch.group_by}" can\'t be said; a batch mixes keys'


def _of_retries(entry: FunctionEntry) -> Iterator[str]:
    retry = entry.retry
    if retry.then == "pause":
        yield (
            'retry: then="pause" can\'t be said; a failed batch is tried for ever (MaximumRetryAttempts -1), and nobody is told'
        )
    else:
        yield (
            f"retry: max_attempts={retry.max_attempts} of an event become {retry.max_attempts - 1} more attempts of the"
            " batch that it is in, and of its halves"
        )
    if retry.max_attempts > 1 or retry.then == "pause":
        yield "retry: the waits between attempts (initial, multiplier, max_delay, jitter, Retry.after) can't be said"
        yield "retry: what is given up at once here (Reject, give_up_on, an event that can't be decoded) is tried again"
    if retry.max_age is not None and (retry.then == "pause" or not _MIN_AGE <= retry.max_age <= _MAX_AGE):
        yield f"retry: max_age={retry.max_age:g}; a mapping's is {_MIN_AGE} to {_MAX_AGE} s, and not beside -1 retries"
    if retry.then == "dead_letter":
        topics = ", ".join(entry.dead_letter.topics.values())
        yield (
            f"dead_letter: {topics} gets a JSON document around each event, not the event as it was: `dispatch dlq` can't send"
            " it back. The topic must be there, and the function's role may write to it"
        )


def _of_filter(where: str) -> Iterator[str]:
    try:
        patterns(where)
    except Untranslatable as why:
        yield f"where: {where!r} can't be said in filter patterns ({why}); the function is invoked with every event"
    else:
        yield (
            "where: the patterns say the same of events whose fields are there and single values of the compared type; others"
            " are dead letters here, and left out, or looked into as lists, there"
        )
