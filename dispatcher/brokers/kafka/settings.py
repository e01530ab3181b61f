"""How to reach a Kafka cluster."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator

from dispatcher.config.kafka import KafkaOptions, SaslMechanism, SecurityProtocol
from dispatcher.config.secrets import SecretReference, reveal
from dispatcher.errors import ConfigurationError

__all__ = ["ENVIRONMENT_PREFIX", "TOKEN_MECHANISMS", "KafkaSettings"]

ENVIRONMENT_PREFIX = "DISPATCH_KAFKA__"

#: Those that show a token, over SASL/OAUTHBEARER.
TOKEN_MECHANISMS = frozenset({"OAUTHBEARER", "AWS_MSK_IAM"})
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


def _revealed(value: Any) -> Any:
    reference = SecretReference.model_validate(value) if isinstance(value, dict) else value
    return reveal(reference) if isinstance(reference, SecretReference) else value


class KafkaSettings(KafkaOptions):
    """How to reach a Kafka cluster, and as whom: complete, and with its secrets read.

    Args:
        servers: ``host:port`` of some of its brokers; a sequence, or a string with commas. The port is 9092 when left out.

    The others are those of :class:`~dispatcher.config.kafka.KafkaOptions`.
    """

    servers: Annotated[tuple[str, ...], BeforeValidator(_as_servers), Field(min_length=1)]
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    password: Annotated[SecretStr | None, BeforeValidator(_revealed)] = None
    key_password: Annotated[SecretStr | None, BeforeValidator(_revealed)] = None

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = {name: value for name, value in data.items() if value is not None}
        sasl = data.keys() & {"username", "token", "sasl_mechanism"}
        certified = data.get("ca_file") or data.get("cert_file")
        data.setdefault("security_protocol", "SASL_SSL" if sasl else "SSL" if certified else "PLAINTEXT")
        data.setdefault("sasl_mechanism", "OAUTHBEARER" if "token" in data else "SCRAM-SHA-512")
        return data

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        if not self.uses_sasl:
            for name in ("username", "token"):
                if getattr(self, name) is not None:
                    raise ValueError(f"a {name} is of no use with {protocol}: choose SASL_SSL")
        elif mechanism == "OAUTHBEARER":
            if self.token is None:
                raise ValueError("OAUTHBEARER needs a token")
        elif mechanism == "AWS_MSK_IAM":
            if protocol != "SASL_SSL":
                raise ValueError("AWS_MSK_IAM goes over SASL_SSL alone: its token is worth a password for 15 minutes")
        elif self.username is None or self.password is None:
            raise ValueError(f"{protocol} with {mechanism} needs a username and a password")
        if self.token is not None and mechanism != "OAUTHBEARER":
            raise ValueError(f"a token is of no use with {mechanism}: choose OAUTHBEARER")
        if not self.uses_tls and (self.ca_file or self.cert_file):
            raise ValueError(f"certificates are of no use with {protocol}: choose SSL or SASL_SSL")
        if self.key_file and not self.cert_file:
            raise ValueError("a key_file is of no use without its cert_file")
        return self

    @classmethod
    def from_url(cls, url: str, options: KafkaOptions | None = None) -> Self:
        """Read ``kafka://host:port,host:port``, and take the rest from the section ``[kafka]``.

        Args:
            url: the servers. No user, password or option: those would end up in process lists and logs.
            options: as whom, and under what security.

        Raises:
            ConfigurationError: the URL or an option is not as it should be, or a secret is not where it should be.
        """
        # Not urlsplit: it takes a list of servers for one, and of two with brackets says that they are no URL.
        scheme, _, servers = url.partition("://")
        if scheme != "kafka" or not servers:
            raise ConfigurationError("a Kafka broker is written as kafka://host:port,host:port")
        if "@" in servers:
            raise ConfigurationError(
                "a broker's URL takes no user or password, since URLs are logged and shown: set username and password in "
                f"[kafka], or {ENVIRONMENT_PREFIX}USERNAME and {ENVIRONMENT_PREFIX}PASSWORD in the environment"
            )
        servers = servers.rstrip("/")
        if {"/", "?", "#"} & set(servers):
            raise ConfigurationError(
                "a broker's URL names servers alone: options are set in [kafka], or in the environment as "
                f"{ENVIRONMENT_PREFIX}..."
            )
        given = {name: getattr(options, name) for name in options.model_fields_set} if options else {}
        return cls.parse(servers=servers, **given)

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

    @property
    def connect_timeout(self) -> float:
        """Seconds in which a server has to let a client in."""
        return self.request_timeout / 2

    def connection_options(self) -> dict[str, Any]:
        """What every client of aiokafka is given, and its bare connection too.

        Raises:
            ConfigurationError: a certificate or a token is not where it should be.
        """
        options = {
            "client_id": self.client_id,
            "request_timeout_ms": int(self.request_timeout * 1000),
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password.get_secret_value() if self.password else None,
        }
        if self.uses_sasl and self.sasl_mechanism in TOKEN_MECHANISMS:
            from dispatcher.brokers.kafka.tokens import provider_of

            # MSK's is OAUTHBEARER on the wire, with a token that is signed for it.
            options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": provider_of(self)}
        return options
