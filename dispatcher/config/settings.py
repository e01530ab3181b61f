"""What a run is set up with, beyond the policies that each function declares for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dispatcher.errors import ConfigurationError

__all__ = ["DEFAULT_BROKER", "Settings", "address", "broker_kind"]

_APP = "app"
DEFAULT_BROKER = "embedded:.dispatch/log.db"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one process.

    Args:
        app: the app's name; with a function's it makes the consumer group ``<app>.<function>``.
        broker: ``kafka://host:port,...`` or ``embedded:PATH``.
        data: the folder for what the dispatcher keeps on this machine.
        commit_interval: seconds between two commits of a function's offsets; sooner when 2,000 events are done.
        drain: seconds that a revoke or a stop waits for the invocations in flight.
        create_topics: missing dead-letter, retry and output streams are created, with the source's
            partition count; the control stream too, when something is said in it.
        control: ``"on"``: functions are paused and resumed by commands, through the stream ``_dispatch.control.<app>``;
            ``"off"``: that stream is neither read nor written.
        on_corrupt: what a function does at records that can't be read: ``"stop"``, or ``"skip"`` past them
            (counted and logged).
        on_foreign_metadata: commit metadata that another program wrote is left out (``"ignore"``, with a
            warning), or stops the function (``"refuse"``).
        max_poll_records: events fetched at once.
        monitoring: where ``/metrics``, ``/livez`` and ``/readyz`` are served: a port of 127.0.0.1, or ``HOST:PORT``
            (``0.0.0.0:9464`` for all addresses, ``[::]:9464``). Nowhere by default. The processes of ``--workers`` take
            this port and those that follow.
        otlp: an OpenTelemetry collector to which metrics are pushed by OTLP over HTTP, every 30 s: ``http://host:4318``.
            To none by default. Headers and certificates are read from OpenTelemetry's own ``OTEL_EXPORTER_OTLP_*`` variables.
        traces: the OpenTelemetry collector to which the traces of invocations are exported by OTLP over HTTP:
            ``http://host:4318``; or ``"on"``: to that of ``otlp``, else where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says. No traces
            by default. A TracerProvider that the functions' code has set is used as it is.
        trace_ratio: which part of the invocations is traced, 0 to 1, among those whose events bring no trace of their
            own; theirs say whether they are sampled. As ``OTEL_TRACES_SAMPLER`` says when it is left out: all.
        trace_parent: what the trace of an event's producer is to an invocation: ``"link"``: each invocation begins a trace
            with links to those of its events; ``"event"``: an invocation of one event goes on with that event's trace.
        liveness_grace: seconds after which ``/livez`` says no: of a blocked event loop, or beyond a function's ``timeout``
            while it has work in hand and completes nothing.
    """

    app: str = _APP
    broker: str = DEFAULT_BROKER
    data: Path = Path(".dispatch")
    commit_interval: float = 0.5
    drain: float = 25.0
    create_topics: bool = True
    control: Literal["on", "off"] = "on"
    on_corrupt: Literal["stop", "skip"] = "stop"
    on_foreign_metadata: Literal["ignore", "refuse"] = "ignore"
    max_poll_records: int = 500
    monitoring: int | str | None = None
    otlp: str | None = None
    traces: str | None = None
    trace_ratio: float | None = None
    trace_parent: Literal["link", "event"] = "link"
    liveness_grace: float = 30.0

    def __post_init__(self) -> None:
        if self.app != _APP:  # what checks it takes 75 ms to import
            check_app_name(self.app)
        broker_kind(self.broker)
        if self.commit_interval < 0 or self.drain < 0:
            raise ConfigurationError("commit_interval and drain are 0 seconds or more")
        if self.max_poll_records < 1:
            raise ConfigurationError("max_poll_records is at least 1 event")
        if self.monitoring is not None:
            address(self.monitoring)
        if self.otlp is not None and not self.otlp.startswith(("http://", "https://")):
            raise ConfigurationError(f"otlp={self.otlp!r} is no collector: write http://host:4318")
        if self.traces is not None and self.traces != "on" and not self.traces.startswith(("http://", "https://")):
            raise ConfigurationError(f'traces={self.traces!r} is no collector: write http://host:4318, or "on"')
        if self.trace_ratio is not None and not 0 <= self.trace_ratio <= 1:
            raise ConfigurationError("trace_ratio is from 0 to 1")
        if self.liveness_grace <= 0:
            raise ConfigurationError("liveness_grace is more than 0 seconds")


def check_app_name(name: str) -> None:
    """Refuse what can't be a part of a consumer group's and a stream's name."""
    from bindings.policies import check_stream_name

    try:
        check_stream_name(name)
    except ValueError:
        raise ConfigurationError(
            f"{name!r} can't be an app's name, which is letters, digits, dots, underscores and dashes"
        ) from None


def address(said: int | str) -> tuple[str, int]:
    """The host and port that ``monitoring=`` names; port 0 takes a free one.

    Raises:
        ConfigurationError: it names none.
    """
    host, colon, port = str(said).rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_bracketed = host == f"[{bare}]"
    if not port.isascii() or not port.isdigit() or int(port) > 65_535 or (colon and not bare):
        raise ConfigurationError(f"{said!r} is no address: write a port of this machine, 9464, or HOST:PORT")
    if ":" in bare and not is_bracketed:
        raise ConfigurationError(f"{said!r} is no address: an IPv6 one stands in brackets, [::1]:9464")
    return bare or "127.0.0.1", int(port)


def broker_kind(url: str) -> Literal["embedded", "kafka"]:
    """Which adapter a broker's URL asks for.

    Raises:
        ConfigurationError: it asks for none that there is.
    """
    kind, colon, rest = url.partition(":")
    if colon and rest:
        if kind == "embedded":
            return "embedded"
        if kind == "kafka" or kind.startswith("kafka+"):
            return "kafka"
    raise ConfigurationError(
        f"{url!r} is not a broker: write kafka://host:9092 (several: kafka://a:9092,b:9092) or embedded:PATH"
    )
