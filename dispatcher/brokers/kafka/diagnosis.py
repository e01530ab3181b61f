"""Why a cluster can't be reached: aiokafka says "Unable to bootstrap" whatever the cause."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiokafka.errors as driver
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from dispatcher.brokers.kafka.settings import ENVIRONMENT_PREFIX, TOKEN_MECHANISMS, KafkaSettings
from dispatcher.errors import AuthenticationFailed, BrokerError, BrokerUnavailable, UntrustedBroker

__all__ = ["find_reachable"]

_SETTLE = 0.2
"""Seconds that the other servers get once one has answered, and a server to close its connection."""


async def find_reachable(settings: KafkaSettings) -> list[str]:
    """Return those of the servers that let this client in: at least one.

    aiokafka tries them one after another in random order, 10 s for each that is silent; so it is given these alone.

    Raises:
        AuthenticationFailed, UntrustedBroker, BrokerUnavailable: none did; each server's reason is in the message.
        ConfigurationError: what is to be shown to them can't be had.
    """
    probes = {asyncio.create_task(_probe(settings, server)): server for server in settings.servers}
    try:
        waiting = set(probes)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is None for task in done):
                await asyncio.wait(probes, timeout=_SETTLE)
                break
    finally:
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    reachable = [server for task, server in probes.items() if not task.cancelled() and task.exception() is None]
    if not reachable:
        failures = [failure for task in probes if (failure := task.exception()) is not None]
        for failure in failures:
            if not isinstance(failure, BrokerError):
                raise failure  # no server's doing: a token's file that is not there, or a bug
        raise _summary([failure for failure in failures if isinstance(failure, BrokerError)])
    return reachable


async def _probe(settings: KafkaSettings, server: str) -> None:
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(settings.request_timeout * 0.9):
            connection = AIOKafkaConnection(host.strip("[]"), int(port), **settings.connection_options())
            try:
                await connection.connect()
                # A listener that wants SASL answers nothing past the first request.
                await connection.send(MetadataRequest([]))
            finally:
                await _close(connection)
    except (driver.KafkaError, OSError) as error:
        raise _explain(settings, server, error) from error


async def _close(connection: AIOKafkaConnection) -> None:
    """Close it, and wait for the other side's goodbye: a loop that ends before leaves the socket of TLS open."""
    closed = connection.close()
    if connection._protocol is not None:  # noqa: SLF001 - without one there was nobody to say goodbye to
        await asyncio.wait([closed], timeout=_SETTLE)


def _explain(settings: KafkaSettings, server: str, error: Exception) -> BrokerError:
    protocol = settings.security_protocol
    match error:
        case ssl.SSLCertVerificationError():
            return UntrustedBroker(f"{server}: {_certificate_problem(error)}")
        case ssl.SSLError() if "CERTIFICATE_REQUIRED" in str(error) or "ALERT" in str(error):
            return AuthenticationFailed(
                f"{server}: the broker did not accept this client's certificate ({error.reason}): "
                f"check {ENVIRONMENT_PREFIX}CERT_FILE and {ENVIRONMENT_PREFIX}KEY_FILE"
            )
        case driver.SaslAuthenticationFailed() if settings.sasl_mechanism in TOKEN_MECHANISMS:
            return AuthenticationFailed(
                f"{server}: the broker refuses the token ({settings.sasl_mechanism}): check that it has not expired, "
                f"and {ENVIRONMENT_PREFIX}{'TOKEN' if settings.token else 'AWS_REGION'}"
            )
        case driver.SaslAuthenticationFailed():
            return AuthenticationFailed(
                f"{server}: the broker refuses the user {settings.username!r} with {settings.sasl_mechanism}: "
                f"check {ENVIRONMENT_PREFIX}USERNAME and {ENVIRONMENT_PREFIX}PASSWORD"
            )
        case driver.UnsupportedSaslMechanismError() | driver.IllegalSaslStateError():
            return AuthenticationFailed(
                f"{server}: the broker does not take {settings.sasl_mechanism} on this port: "
                f"check {ENVIRONMENT_PREFIX}SASL_MECHANISM and {ENVIRONMENT_PREFIX}SECURITY_PROTOCOL"
            )
        case socket.gaierror():
            return BrokerUnavailable(f"{server}: no such host: check the name, and DNS")
        case ConnectionRefusedError():
            return BrokerUnavailable(f"{server}: nothing listens there: check the port, and that the broker runs")
        case TimeoutError() | driver.RequestTimedOutError():
            return BrokerUnavailable(
                f"{server}: no answer in {settings.request_timeout:g} s: check that the port is Kafka's, "
                "and that no firewall drops the packets"
            )
        case ssl.SSLError() | ConnectionError() if settings.uses_tls:
            return BrokerUnavailable(
                f"{server}: no TLS there, but the security protocol is {protocol}: "
                f"check the port and {ENVIRONMENT_PREFIX}SECURITY_PROTOCOL"
            )
        case driver.KafkaConnectionError() | ConnectionError() if protocol == "SSL":
            # In TLS 1.3 a client learns only after the handshake that its certificate was wanted.
            return BrokerUnavailable(
                f"{server}: it hung up after the TLS handshake, as a broker does that wants SASL, or another certificate of "
                f"this client's: check {ENVIRONMENT_PREFIX}CERT_FILE and {ENVIRONMENT_PREFIX}SECURITY_PROTOCOL"
            )
        case driver.KafkaConnectionError() | ConnectionError():
            return BrokerUnavailable(
                f"{server}: it hung up, as a broker does that wants TLS or SASL where this client speaks {protocol}: "
                f"check the port and {ENVIRONMENT_PREFIX}SECURITY_PROTOCOL"
            )
    return BrokerUnavailable(f"{server}: {' '.join(str(error).split()) or type(error).__name__}")


def _certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    problem = error.verify_message
    if "mismatch" in problem or "not valid for" in problem:
        return f"its certificate is for another host ({problem}): use the name that the certificate has"
    if "expired" in problem or "not yet valid" in problem:
        return f"its certificate is out of date ({problem}): check it, and this machine's clock"
    return f"its certificate is not trusted ({problem}): name its authority in {ENVIRONMENT_PREFIX}CA_FILE"


def _summary(failures: list[BrokerError]) -> BrokerError:
    kind: type[BrokerError] = next(
        (kind for kind in (AuthenticationFailed, UntrustedBroker) if any(isinstance(each, kind) for each in failures)),
        BrokerUnavailable,
    )
    return kind("; ".join(map(str, failures)))
