"""Targets: where a function runs. A union, told apart by ``type``, to which other kinds are added."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dispatcher.config.secrets import SecretReference, TokenReference

__all__ = [
    "AwsLambdaTarget",
    "AwsSigV4",
    "BasicAuth",
    "BearerAuth",
    "GoogleFunctionTarget",
    "GoogleIdToken",
    "HttpTarget",
    "LocalTarget",
    "ProcessTarget",
    "RemoteTarget",
    "Target",
    "parse_size",
]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_size(size: object) -> object:
    """Bytes from ``"512MB"`` or ``"1GiB"``; a number is bytes already. What is no size is returned as it is."""
    if isinstance(size, str):
        if not (match := _SIZE.fullmatch(size.strip())):
            raise ValueError(f"{size!r} is not a size: write it as 512MB or 1GiB")
        return int(float(match[1]) * _UNITS[match[2] or "B"])
    return size


_Size = BeforeValidator(parse_size, json_schema_input_type=int | str)


class _Target(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LocalTarget(_Target):
    """In the dispatcher's own process: async functions on its event loop, others in threads.

    Args:
        type: ``local``.
    """

    type: Literal["local"] = "local"


class ProcessTarget(_Target):
    """In worker processes of its own, which stay warm: for CPU-bound or untrusted functions.

    Args:
        type: ``process``.
        processes: how many; as many as the machine has processors, and ``concurrency`` at the most, when it is left out.
        memory: of each process, in bytes or as ``"512MB"``, 64 MiB at the least; no limit when it is left out.
        cpu_seconds: CPU time of one invocation; no limit when it is left out.
        open_files: file descriptors of each process; what the dispatcher may have when it is left out.
        environment: names of environment variables that the function may see, beyond the common ones.
        start_timeout: seconds that the start of a process, with the import of the function, may take.
        max_reply: of one invocation's results, in bytes or as `"64MB"`; a process that sends more is killed.
    """

    type: Literal["process"] = "process"
    processes: Annotated[int, Field(ge=1, le=1000)] | None = None
    memory: Annotated[int, Field(ge=64 << 20), _Size] | None = None
    cpu_seconds: Annotated[float, Field(gt=0)] | None = None
    open_files: Annotated[int, Field(ge=16)] | None = None
    environment: tuple[str, ...] = ()
    start_timeout: Annotated[float, Field(gt=0)] = 60.0
    max_reply: Annotated[int, Field(ge=1024), _Size] = 64 << 20


class RemoteTarget(_Target):
    """What every target behind the network has. An attempt ends at the function's ``timeout``, whatever it waits for.

    Args:
        connect_timeout: seconds that a connection, with its TLS handshake, may take; what was not connected is no attempt.
        keep_alive: seconds that an idle connection is kept: fewer than the target keeps it, or a request meets its end.
        max_request: of one request's body, in bytes or as `"6MB"`; a batch that is larger is split, a single event that is
            becomes a dead letter. No limit when it is left out.
        max_reply: of one reply, before and after decompression, in bytes or as `"8MB"`; a larger one is a failed attempt.
        ca_file: certificates to trust, PEM; the system's own when it is left out.
    """

    connect_timeout: Annotated[float, Field(gt=0)] = 10.0
    keep_alive: Annotated[float, Field(ge=0)] = 4.0
    max_request: Annotated[int, Field(ge=1024), _Size] | None = None
    max_reply: Annotated[int, Field(ge=1024), _Size] = 8 << 20
    ca_file: Path | None = None


class BearerAuth(_Target):
    """A token in the header Authorization.

    Args:
        type: ``bearer``.
        token: where it is; a file is read again when it changes, a function is called again after a minute.
    """

    type: Literal["bearer"]
    token: TokenReference


class BasicAuth(_Target):
    """A name and a password in the header Authorization.

    Args:
        type: ``basic``.
        username: whose password it is.
        password: where it is; a file is read again when it changes.
    """

    type: Literal["basic"]
    username: Annotated[str, Field(pattern=r"^[^:\x00-\x1f\x7f]*$")]
    password: SecretReference


class GoogleIdToken(_Target):
    """An ID token of the service account that this process runs as, for Cloud Run and what stands behind IAP.

    Args:
        type: ``google_id_token``.
        audience: whom the token is for; scheme and host of ``url`` when it is left out.
    """

    type: Literal["google_id_token"]
    audience: str | None = None


class AwsSigV4(_Target):
    """A signature of AWS, version 4, with the credentials that the AWS SDK finds.

    Args:
        type: ``aws_sigv4``.
        region: of the service.
        service: its name in signatures: ``lambda`` for function URLs, ``execute-api`` for API Gateway.
        profile: of the AWS configuration files; the default one when it is left out.
    """

    type: Literal["aws_sigv4"]
    region: str
    service: str = "lambda"
    profile: str | None = None


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: What the dispatcher, or HTTP itself, says in a request.
_OUR_HEADERS = frozenset(
    {"accept", "connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key"}
    | {"keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


_SECRET_HEADER = re.compile(r"authorization|cookie|secret|token|passw|api-?key|-key$|-sig", re.IGNORECASE)


def _checked_headers(headers: dict[str, Any]) -> dict[str, Any]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} can't be a header's name")
        if name.lower() in _OUR_HEADERS or name.lower().startswith(("ce-", "dispatch-")):
            raise ValueError(f"the header {name} is the dispatcher's own to set")
        if isinstance(value, str) and _SECRET_HEADER.search(name):
            raise ValueError(
                f"a secret is not written into a file that is shared: {name} = {{ file = ... }} or {{ env = ... }}"
            )
        if isinstance(value, str) and not (value.isprintable() and value.isascii()):
            raise ValueError(f"the header {name} holds what no header may")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is given twice")
    return headers


#: What a resolver may take for an IPv4 address, and what every one does.
_NUMBERS = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*\.?", re.IGNORECASE)
_ADDRESS = re.compile(r"(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError('it is "http://host/path" or "https://host/path"')
    if _NUMBERS.fullmatch(parts.hostname) and not _ADDRESS.fullmatch(parts.hostname):
        raise ValueError(
            "an address is four numbers without leading zeros: resolvers read other spellings in other ways"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL is shown in logs: say who this is with auth = { ... }, not in the URL")
    if parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it has a fragment or white space")
    return url


_MEDIA_TYPE = r"^[\w!#$&^.+-]+/[\w!#$&^.+-]+[\x20-\x7e]*$"


class HttpTarget(RemoteTarget):
    """An endpoint that takes events by POST: a Knative or Cloud Run service, an Azure or OpenFaaS function, any service.

    Args:
        type: ``http``.
        url: where events are posted to.
        envelope: how an event is written: ``cloudevents`` (binary mode; batched for a function that takes batches),
            ``cloudevents_structured`` (one JSON document; batched likewise), ``aws_kafka`` (the event of AWS Lambda's trigger
            for Kafka), ``cloudevents_json`` (a plain JSON list of them, for frameworks that refuse the batched type), ``pubsub``
            (the push of Google Pub/Sub; one event a request), ``raw`` (the value as it is; one event a request).
        source: of the CloudEvents; `"/<stream>"` when it is left out.
        event_type: of the CloudEvents; the stream when it is left out.
        content_type: of the events' values.
        headers: by name, a text, or where a secret is: ``{ "x-functions-key" = { file = "..." } }``. A file is read again when it
            changes.
        auth: how this dispatcher shows who it is.
        cert_file: this client's certificate, PEM, for a target that asks for one (mTLS).
        key_file: its private key, PEM, when ``cert_file`` does not hold it.
        key_password: of the private key.
        verify_tls: false believes any certificate, so that anybody on the way can read and change the events; each start says so.
        forbid_private: refuse addresses that are not public (private, loopback, link-local), whatever name leads to them.
        warm_up: a path that is asked for by GET at the start, so that a target which sleeps wakes up; its answer is not read.
    """

    type: Literal["http"]
    url: Annotated[str, AfterValidator(_checked_url)]
    envelope: Literal["cloudevents", "cloudevents_structured", "cloudevents_json", "aws_kafka", "pubsub", "raw"] = (
        "cloudevents"
    )
    source: Annotated[str, Field(min_length=1)] | None = None
    event_type: Annotated[str, Field(min_length=1)] | None = None
    content_type: Annotated[str, Field(pattern=_MEDIA_TYPE)] = "application/json"
    headers: Annotated[dict[str, str | SecretReference], AfterValidator(_checked_headers)] = {}
    auth: Annotated[BearerAuth | BasicAuth | GoogleIdToken | AwsSigV4, Field(discriminator="type")] | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretReference | None = None
    verify_tls: bool = True
    forbid_private: bool = False
    warm_up: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$")] | None = None

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("both auth and headers say what Authorization is: keep one")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is of no use without cert_file")
        return self


class AwsLambdaTarget(RemoteTarget):
    """An AWS Lambda function, invoked with the event that AWS's own trigger for Kafka sends.

    Args:
        type: ``aws_lambda``.
        function: its name or its ARN.
        qualifier: a version or an alias; the one that is not published when it is left out.
        region: where it is; that of the environment (``AWS_REGION``) when it is left out.
        invocation: ``request_response`` waits for what the function says; ``event`` hands over and knows no more: Lambda
            itself tries again, and has its own place for what it gives up.
        event_source_arn: of the MSK cluster, for functions that look at it; without one the event is of a self-managed Kafka.
        bootstrap_servers: ``host:port,...``, for functions that look at it.
        profile: of the AWS configuration files; the default one when it is left out.
        endpoint_url: of another Lambda than AWS's: a VPC endpoint, an emulator.
    """

    type: Literal["aws_lambda"]
    function: Annotated[str, Field(pattern=r"^[a-zA-Z0-9:_/.$-]{1,256}$")]
    qualifier: Annotated[str, Field(pattern=r"^[a-zA-Z0-9$_-]{1,128}$")] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    invocation: Literal["request_response", "event"] = "request_response"
    event_source_arn: str | None = None
    bootstrap_servers: str = ""
    profile: str | None = None
    endpoint_url: Annotated[str, AfterValidator(_checked_url)] | None = None


_NAME = r"^[a-zA-Z0-9][a-zA-Z0-9:._-]*$"


class GoogleFunctionTarget(RemoteTarget):
    """A Cloud Run function of Google's, found by its name and called with an ID token of this process's service account.

    Args:
        type: ``google_function``.
        project: its project.
        location: its region, ``europe-west1``.
        function: its name.
        url: its address, when it is known: nothing is looked up then.
        envelope: ``cloudevents`` (one event in binary mode; a batch as a JSON list, for an http function) or ``pubsub`` (the
            push of Pub/Sub; one event a request).
        source: of the CloudEvents; `"/<stream>"` when it is left out.
        event_type: of the CloudEvents; the stream when it is left out.
        content_type: of the events' values.
        audience: whom the token is for; the function's address when it is left out.
        api_endpoint: of the Cloud Functions API, when it is not Google's own.
    """

    type: Literal["google_function"]
    project: Annotated[str, Field(pattern=_NAME)]
    location: Annotated[str, Field(pattern=_NAME)]
    function: Annotated[str, Field(pattern=_NAME)]
    url: Annotated[str, AfterValidator(_checked_url)] | None = None
    envelope: Literal["cloudevents", "pubsub"] = "cloudevents"
    source: Annotated[str, Field(min_length=1)] | None = None
    event_type: Annotated[str, Field(min_length=1)] | None = None
    content_type: Annotated[str, Field(pattern=_MEDIA_TYPE)] = "application/json"
    audience: str | None = None
    api_endpoint: str | None = None


def _as_table(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


#: ``target = "process"`` says the same as ``target = { type = "process" }``.
Target = Annotated[
    Annotated[
        LocalTarget | ProcessTarget | HttpTarget | AwsLambdaTarget | GoogleFunctionTarget, Field(discriminator="type")
    ],
    BeforeValidator(
        _as_table,
        json_schema_input_type=LocalTarget
        | ProcessTarget
        | HttpTarget
        | AwsLambdaTarget
        | GoogleFunctionTarget
        | Literal["local", "process"],
    ),
]
