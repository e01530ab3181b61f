"""How to reach a Kafka cluster."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from dispatcher.errors import ConfigurationError

__all__ = ["ENVIRONMENT_PREFIX", "KafkaSettings"]

ENVIRONMENT_PREFIX = "DISPATCH_KAFKA_"

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_FROM_ENVIRONMENT = (
    "security_protocol",
    "sasl_mechanism",
    "username",
    "password",
    "ca_file",
    "cert_file",
    "key_file",
    "key_password",
    "client_id",
    "instance_id",
    "rack",
    "compression",
)
_DEFAULT_PORT = 9092


def _as_servers(value: object) -> object:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, Sequence):
        return value
    return tuple(_with_port(str(name).strip()) for name in names if str(name).strip())


def _with_port(server: str) -> str:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, str(_DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in host for c in "/@ "):
        raise ValueError("a server is written as host:port")
    return f"{host}:{port}"


class KafkaSettings(BaseModel):
    """How to reach a Kafka cluster, and as whom.

    Args:
        servers: ``host:port`` of some of its brokers; a sequence, or a string with commas. The port is 9092 when left out.
        security_protocol: by default SASL_SSL with a ``username``, SSL with a ``ca_file`` or ``cert_file``, else
            PLAINTEXT. SASL_PLAINTEXT sends the password where others may read it, so it is never chosen for you.
        sasl_mechanism: how the password is shown to the broker.
        username, password: for SASL.
        ca_file: certificates to trust, PEM; the system's own when left out.
        cert_file, key_file, key_password: this client's certificate, PEM, for a broker that asks for one.
        client_id: the name that the broker's logs and quotas use.
        instance_id: a static member name (KIP-345): a restart within the session timeout causes no rebalance.
            One process a name; a second one fences the first.
        rack: where this process runs, so that the nearest replica is read (KIP-392).
        compression: of what is produced; None leaves it to the topic.
        request_timeout: seconds until a request, or an attempt to connect, is given up.
        delivery_timeout: seconds until a record that is being produced is given up, retries included.
        session_timeout: seconds without a heartbeat after which the group takes this member's partitions away.
        rebalance_timeout: seconds that the group waits in a rebalance for members to finish what is in flight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    servers: Annotated[tuple[str, ...], BeforeValidator(_as_servers), Field(min_length=1)]
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr | None = None
    client_id: str = "dispatch"
    instance_id: str | None = None
    rack: str | None = None
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = None
    request_timeout: float = Field(default=10.0, gt=0)
    delivery_timeout: float = Field(default=30.0, gt=0)
    session_timeout: float = Field(default=10.0, gt=0)
    rebalance_timeout: float = Field(default=60.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _choose_protocol(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("security_protocol") is None:
            certified = data.get("ca_file") or data.get("cert_file")
            chosen = "SASL_SSL" if data.get("username") else "SSL" if certified else "PLAINTEXT"
            return {**data, "security_protocol": chosen}
        return data

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.uses_sasl and (self.username is None or self.password is None):
            raise ValueError(f"{self.security_protocol} needs a username and a password")
        if not self.uses_sasl and self.username is not None:
            raise ValueError(f"a username is of no use with {self.security_protocol}: choose SASL_SSL")
        if not self.uses_tls and (self.ca_file or self.cert_file):
            raise ValueError(f"certificates are of no use with {self.security_protocol}: choose SSL or SASL_SSL")
        return self

    @classmethod
    def from_url(cls, url: str, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``kafka://host:port,host:port``, and the rest from ``DISPATCH_KAFKA_*`` variables.

        Args:
            url: the servers. No user, password or option: those would end up in process lists and logs.
            environ: ``DISPATCH_KAFKA_USERNAME``, ``_PASSWORD``, ``_SECURITY_PROTOCOL``, ``_SASL_MECHANISM``, ``_CA_FILE``,
                ``_CERT_FILE``, ``_KEY_FILE``, ``_KEY_PASSWORD``, ``_CLIENT_ID``, ``_INSTANCE_ID``, ``_RACK``, ``_COMPRESSION``.

        Raises:
            ConfigurationError: the URL or a variable is not as it should be.
        """
        parts = urlsplit(url)
        if parts.scheme != "kafka":
            raise ConfigurationError("a Kafka broker is written as kafka://host:port,host:port")
        if "@" in parts.netloc:
            raise ConfigurationError(
                "a broker's URL takes no user or password, since URLs are logged and shown: "
                f"set {ENVIRONMENT_PREFIX}USERNAME and {ENVIRONMENT_PREFIX}PASSWORD in the environment"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(
                f"a broker's URL names servers alone; options are set in the environment as {ENVIRONMENT_PREFIX}..."
            )
        given = {
            name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for name, value in (environ or {}).items()
            if name.startswith(ENVIRONMENT_PREFIX) and value
        }
        if unknown := sorted(given.keys() - set(_FROM_ENVIRONMENT)):
            names = ", ".join(ENVIRONMENT_PREFIX + name.upper() for name in unknown)
            known = ", ".join(ENVIRONMENT_PREFIX + name.upper() for name in _FROM_ENVIRONMENT)
            raise ConfigurationError(f"unknown in the environment: {names}; there are {known}")
        return cls.parse(servers=parts.netloc, **given)

    @classmethod
    def parse(cls, **values: object) -> Self:
        """Validate, and say in one line what is wrong.

        Raises:
            ConfigurationError: naming each setting that is wrong, never its value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(
                ": ".join(
                    filter(None, (".".join(map(str, each["loc"][:1])), each["msg"].removeprefix("Value error, ")))
                )
                for each in error.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(f"Kafka settings: {wrong}") from None

    @property
    def url(self) -> str:
        """The cluster as a person would name it, without secrets."""
        return "kafka://" + ",".join(self.servers)

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS trusts and shows, or None without TLS.

        Raises:
            ConfigurationError: a file can't be read, or is not what it should be.
        """
        if not self.uses_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                secret = self.key_password.get_secret_value() if self.key_password else None
                context.load_cert_chain(self.cert_file, self.key_file, lambda: secret or "")
        except OSError as error:
            files = ", ".join(str(path) for path in (self.ca_file, self.cert_file, self.key_file) if path)
            raise ConfigurationError(f"can't use the certificates in {files}: {error}") from error
        return context

    def connection_options(self) -> dict[str, Any]:
        """What every client of aiokafka is given, and its bare connection too."""
        return {
            "client_id": self.client_id,
            "request_timeout_ms": int(self.request_timeout * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password.get_secret_value() if self.password else None,
        }
