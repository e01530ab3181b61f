"""The section ``[kafka]``: as whom, and under what security, a cluster is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from dispatcher.config.secrets import Secret, TokenReference

__all__ = ["KafkaOptions", "SaslMechanism", "SecurityProtocol"]

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]


class KafkaOptions(BaseModel):
    """How a Kafka cluster is reached, but for where it is: that is ``broker``.

    Args:
        security_protocol: by default SASL_SSL with a ``username``, ``token`` or ``sasl_mechanism``, SSL with a ``ca_file``
            or ``cert_file``, else PLAINTEXT. SASL_PLAINTEXT sends the password where others may read it, so it is never
            chosen for you.
        sasl_mechanism: how this client shows who it is: by default OAUTHBEARER with a ``token``, else SCRAM-SHA-512.
        username: for PLAIN and SCRAM.
        password: for PLAIN and SCRAM.
        token: for OAUTHBEARER; read again for each connection.
        aws_region: for AWS_MSK_IAM; the region of ``AWS_REGION`` or the AWS profile by default.
        aws_profile: for AWS_MSK_IAM: a profile of the AWS configuration files.
        aws_role_arn: for AWS_MSK_IAM: a role to assume.
        ca_file: certificates to trust, PEM; the system's own when left out.
        cert_file: this client's certificate, PEM, for a broker that asks for one (mTLS).
        key_file: its private key, PEM, when ``cert_file`` does not hold it.
        key_password: of the private key.
        client_id: the name that the broker's logs and quotas use.
        instance_id: a static member name (KIP-345): a restart within the session timeout causes no rebalance.
            One process a name; a second one fences the first.
        rack: where this process runs, so that the nearest replica is read (KIP-392).
        compression: of what is produced; left to the topic when it is left out.
        request_timeout: seconds until a request is given up; an attempt to connect, after half of it. When a leader falls
            silent, its partitions go on elsewhere within one and a half times this after the cluster has moved them.
        delivery_timeout: seconds until a record that is being produced is given up, retries included.
        session_timeout: seconds without a heartbeat after which the group takes this member's partitions away.
        rebalance_timeout: seconds that the group waits in a rebalance for members to finish what is in flight.
        max_batch_bytes: bytes to which a compressed batch may grow; a larger one is not read, which ``on_corrupt`` is for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    security_protocol: SecurityProtocol | None = None
    sasl_mechanism: SaslMechanism | None = None
    username: str | None = None
    password: Secret | None = None
    token: TokenReference | SecretStr | None = None
    aws_region: str | None = None
    aws_profile: str | None = None
    aws_role_arn: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None
    client_id: str = "dispatch"
    instance_id: str | None = None
    rack: str | None = None
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = None
    request_timeout: float = Field(default=10.0, gt=0)
    delivery_timeout: float = Field(default=30.0, gt=0)
    session_timeout: float = Field(default=10.0, gt=0)
    rebalance_timeout: float = Field(default=60.0, gt=0)
    max_batch_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
