"""An AWS for Terraform: moto's server, with what moto lacks for the modules, each with the reason that it is there.

Patched while :func:`moto_aws` is open, since other tests use moto as it is.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.awslambda.models import LambdaFunction
from moto.awslambda.responses import LambdaResponse
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ecs.models import Service
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.kafka.exceptions import NotFoundException
from moto.kafka.models import FakeKafkaCluster, KafkaBackend
from moto.kafka.responses import KafkaResponse
from moto_server import moto_server

__all__ = ["moto_aws"]


@contextmanager
def moto_aws() -> Iterator[str]:
    """The server's address."""
    with pytest.MonkeyPatch.context() as patch:
        # ECS: services never begin to run otherwise.
        patch.setenv("MOTO_ECS_SERVICE_RUNNING", "1")
        _autoscaling_has_tags(patch)
        _clusters_of_kafka_become_active(patch)
        _services_keep_what_is_said(patch)
        _rules_between_groups_keep_their_description(patch)
        _functions_keep_their_logging(patch)
        _functions_run(patch)
        with moto_server() as url:
            yield url


def _autoscaling_has_tags(patch: pytest.MonkeyPatch) -> None:
    """Application Auto Scaling answers ListTagsForResource with 500, which the provider asks after each target, and drops tags."""
    kept: dict[str, dict[str, str]] = {}

    def register(self: ApplicationAutoScalingResponse) -> str:
        said: str = registered(self)
        kept.setdefault(json.loads(said)["ScalableTargetARN"], {}).update(self._get_param("Tags") or {})
        return said

    def list_tags(self: ApplicationAutoScalingResponse) -> str:
        return json.dumps({"Tags": kept.get(self._get_param("ResourceARN"), {})})

    registered = ApplicationAutoScalingResponse.register_scalable_target
    patch.setattr(ApplicationAutoScalingResponse, "register_scalable_target", register)
    patch.setattr(ApplicationAutoScalingResponse, "list_tags_for_resource", list_tags, raising=False)


def _clusters_of_kafka_become_active(patch: pytest.MonkeyPatch) -> None:
    """MSK: a cluster stays CREATING, has no bootstrap servers and an ARN without its name, and a configuration
    that nobody made; one that is gone is a KeyError."""

    def begin(self: FakeKafkaCluster, *args: Any, **kwargs: Any) -> None:
        began(self, *args, **{**kwargs, "state": "ACTIVE"})
        head, _, identity = self.arn.rpartition("/")
        self.arn = f"{head}/{self.cluster_name}/{identity}-1"

    def servers(self: KafkaResponse) -> str:
        cluster = self.kafka_backend.clusters[unquote(self.parsed_url.path.split("/clusters/")[-1].rsplit("/", 1)[0])]
        names = [f"b-{number}.{cluster.cluster_name}.kafka:9098" for number in (1, 2)]
        return json.dumps({"bootstrapBrokerStringSaslIam": ",".join(names)})

    def describe(self: KafkaBackend, cluster_arn: str) -> dict[str, Any]:
        if cluster_arn not in self.clusters:
            raise NotFoundException("there is no such cluster")
        said = described(self, cluster_arn)
        said["currentBrokerSoftwareInfo"] = {"kafkaVersion": said["currentBrokerSoftwareInfo"]["kafkaVersion"]}
        return said

    def describe_v2(self: KafkaBackend, cluster_arn: str) -> dict[str, Any]:
        if cluster_arn not in self.clusters:
            raise NotFoundException("there is no such cluster")
        return described_v2(self, cluster_arn)

    began, described, described_v2 = (
        FakeKafkaCluster.__init__,
        KafkaBackend.describe_cluster,
        KafkaBackend.describe_cluster_v2,
    )
    patch.setattr(FakeKafkaCluster, "__init__", begin)
    patch.setattr(KafkaBackend, "describe_cluster", describe)
    patch.setattr(KafkaBackend, "describe_cluster_v2", describe_v2)
    patch.setattr(KafkaResponse, "get_bootstrap_brokers", servers, raising=False)


def _services_keep_what_is_said(patch: pytest.MonkeyPatch) -> None:
    """ECS drops a service's capacity providers (and says EC2), and how it rebalances its zones: each plan would set them again."""

    def create(self: EC2ContainerServiceResponse) -> Any:
        answer = created(self)
        service = answer.result["service"]
        service.capacity_provider_strategy = self._get_param("capacityProviderStrategy")
        if service.capacity_provider_strategy:
            service.launch_type = None
        return answer

    created = EC2ContainerServiceResponse.create_service
    patch.setattr(EC2ContainerServiceResponse, "create_service", create)
    patch.setattr(Service, "availability_zone_rebalancing", "DISABLED", raising=False)


def _rules_between_groups_keep_their_description(patch: pytest.MonkeyPatch) -> None:
    """EC2 reads the description of a rule from its addresses alone; a rule for a security group has none."""

    @property  # type: ignore[misc]
    def description(self: SecurityGroupRule) -> str | None:
        return self.ip_range.get("Description") or (self.source_group or {}).get("Description")

    patch.setattr(SecurityGroupRule, "description", description)


def _functions_keep_their_logging(patch: pytest.MonkeyPatch) -> None:
    """Lambda drops LoggingConfig."""

    def make(self: LambdaFunction, **kwargs: Any) -> None:
        made(self, **kwargs)
        self.logging_config = kwargs["spec"].get("LoggingConfig")

    def configuration(self: LambdaFunction, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**configured(self, *args, **kwargs), "LoggingConfig": self.logging_config}

    made, configured = LambdaFunction.__init__, LambdaFunction.get_configuration
    patch.setattr(LambdaFunction, "__init__", make)
    patch.setattr(LambdaFunction, "get_configuration", configuration)


def _functions_run(patch: pytest.MonkeyPatch) -> None:
    """Lambda would run Docker; and it reads the qualifier by a name that no client writes, so that it runs $LATEST.

    Here the package runs in AWS's own runtime client, of the version that the alias names.
    """

    def invoke(self: LambdaResponse) -> Any:
        self.querystring.update({"qualifier": self.querystring.get("Qualifier", [])})
        return invoked(self)

    def run(self: LambdaFunction, body: bytes | str, request_headers: Any, response_headers: Any) -> bytes:
        assert self.version != "$LATEST", "what is not published is not called"
        payload = body.encode() if isinstance(body, str) else body
        answer, failed = _run(self, payload, request_headers.get("X-Amz-Client-Context"))
        if failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        return answer

    invoked = LambdaResponse.invoke
    patch.setattr(LambdaResponse, "invoke", invoke)
    patch.setattr(LambdaFunction, "invoke", run)


class _Runtime(BaseHTTPRequestHandler):
    """The Runtime API, for one invocation."""

    server: _RuntimeServer

    def do_GET(self) -> None:
        if self.server.given.is_set():
            self.server.done.wait()  # the process is killed meanwhile
            return
        self.server.given.set()
        self.send_response(200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.payload)))
        self.end_headers()
        self.wfile.write(self.server.payload)

    def do_POST(self) -> None:
        self.server.answer = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.failed = self.path.endswith("/error")
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.done.set()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


class _RuntimeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, payload: bytes, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Runtime)
        self.payload, self.headers = payload, headers
        self.given, self.done = threading.Event(), threading.Event()
        self.answer, self.failed = b"", False


def _run(function: LambdaFunction, payload: bytes, context: str | None) -> tuple[bytes, bool]:
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": "00000000-0000-0000-0000-000000000000",
        "Lambda-Runtime-Deadline-Ms": "9999999999999",
        "Lambda-Runtime-Invoked-Function-Arn": function.function_arn,
    }
    if context:
        import base64

        headers["Lambda-Runtime-Client-Context"] = base64.b64decode(context).decode()
    folder = Path(tempfile.mkdtemp(prefix="function-"))
    server = _RuntimeServer(payload, headers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        zipfile.ZipFile(io.BytesIO(function.code_bytes)).extractall(folder)
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from awslambdaric.__main__ import main; main(sys.argv)",
                function.handler,
            ],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(folder),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
                "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
                "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
                "LAMBDA_TASK_ROOT": str(folder),
                **function.environment_vars,
            },
        )
        try:
            assert server.done.wait(30), "the function does not answer"
        finally:
            process.kill()
            process.wait()
        return server.answer, server.failed
    finally:
        server.done.set()
        server.shutdown()
        server.server_close()
        shutil.rmtree(folder)
