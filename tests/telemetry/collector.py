"""What an OpenTelemetry collector receives, read with OpenTelemetry's own protocol definitions."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_KINDS = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


class Collector:
    """Listens on a port of this machine.

    Attributes:
        pushes: the path and the content of each request.
        headers: of each request, their names in lower case.
    """

    def __init__(self) -> None:
        self.pushes: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        received, said = self.pushes, self.headers

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = _KINDS[self.path]()
                request.ParseFromString(body)
                received.append((self.path, request))
                said.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        """All spans that came."""
        return [
            span
            for path, request in self.pushes
            if path == "/v1/traces"
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        """Whose the spans of the last push are."""
        [of_resource] = next(request for path, request in reversed(self.pushes) if path == "/v1/traces").resource_spans
        return texts(of_resource.resource.attributes)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def texts(attributes: Any) -> dict[str, str]:
    """Attributes that are texts."""
    return {each.key: each.value.string_value for each in attributes if each.value.HasField("string_value")}
