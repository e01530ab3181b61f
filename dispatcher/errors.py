"""Every exception that the dispatcher raises on purpose.

DispatchError
├── ConfigurationError         what was asked for can't be run as it stands
│   └── FilterError            a ``where=`` does not compile
├── FilterEvaluationError      a ``where=`` has no answer for this event
├── BrokerError                the broker did not do what was asked
│   ├── BrokerUnavailable      it can't be reached, or did not answer in time (worth another try)
│   ├── BrokerRefused          it answered, and said no
│   │   ├── AuthenticationFailed   wrong user, password or token
│   │   ├── AuthorizationFailed    the user may not do this
│   │   ├── MetadataTooLarge       a commit carries more than it takes
│   │   └── UntrustedBroker        its certificate is not trusted, or is for another host
│   ├── StreamNotFound         the topic, or the partition, is not there
│   ├── RecordTooLarge         the topic does not take a record of that size
│   ├── CommitRefused          the partitions have gone to another member
│   ├── FencedMember           another process has this one's static identity
│   ├── OffsetOutOfRange       the log no longer (or does not yet) hold that offset
│   └── CorruptRecords         a batch in the log fails its checksum, or can't be decompressed within the limit
├── KafkaUnavailable           a Kafka can't be had on this machine, or does not start
└── InvalidOffsetMetadata      commit metadata that this program did not write, or can't read
"""

from __future__ import annotations

__all__ = [
    "AuthenticationFailed",
    "AuthorizationFailed",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnavailable",
    "CommitRefused",
    "ConfigurationError",
    "CorruptRecords",
    "DispatchError",
    "FencedMember",
    "FilterError",
    "FilterEvaluationError",
    "InvalidOffsetMetadata",
    "KafkaUnavailable",
    "MetadataTooLarge",
    "OffsetOutOfRange",
    "RecordTooLarge",
    "StreamNotFound",
    "UntrustedBroker",
]


class DispatchError(Exception):
    """The parent of all of them."""


class ConfigurationError(DispatchError):
    """Raised when what was asked for can't be run as it stands; the message says what to change."""


class FilterError(ConfigurationError):
    """Raised when a ``where=`` expression does not compile or does not give a boolean."""


class FilterEvaluationError(DispatchError):
    """Raised when a ``where=`` has no answer for one event: a field is missing, or of another type."""


class BrokerError(DispatchError):
    """Raised when the broker did not do what was asked."""


class BrokerUnavailable(BrokerError):
    """Raised when the broker can't be reached or did not answer in time; the same call may succeed later."""


class BrokerRefused(BrokerError):
    """Raised when the broker answered and said no; the same call will fail again until somebody acts."""


class AuthenticationFailed(BrokerRefused):
    """Raised when the broker does not accept the user, password or token."""


class AuthorizationFailed(BrokerRefused):
    """Raised when the broker knows the user and does not let it do this."""


class UntrustedBroker(BrokerRefused):
    """Raised when the broker's certificate is not trusted, has expired, or is for another host."""


class StreamNotFound(BrokerError):
    """Raised when the topic or the partition does not exist."""


class RecordTooLarge(BrokerError):
    """Raised when a record is larger than the topic, the broker or the client takes."""


class MetadataTooLarge(BrokerRefused):
    """Raised when a commit's metadata is larger than the broker's ``offset.metadata.max.bytes``."""


class CommitRefused(BrokerError):
    """Raised when offsets are committed for partitions that have gone to another member."""


class FencedMember(BrokerError):
    """Raised when another process joined the group with this one's static identity."""


class OffsetOutOfRange(BrokerError):
    """Raised when a position is outside what the log holds.

    Args:
        stream, partition: where.
        offset: the position that was asked for.
    """

    def __init__(self, stream: str, partition: int, offset: int) -> None:
        super().__init__(f"{stream}/{partition} does not hold offset {offset}")
        self.stream = stream
        self.partition = partition
        self.offset = offset


class CorruptRecords(BrokerError):
    """Raised when records in the log can't be read.

    Args:
        stream, partition: where.
        offset: the first offset that can't be read.
        reason: what is wrong with it.
        end: the offset after the last of them, where that can be known; one offset can't be read otherwise.
    """

    def __init__(self, stream: str, partition: int, offset: int, reason: str, end: int | None = None) -> None:
        self.stream = stream
        self.partition = partition
        self.offset = offset
        self.end = offset + 1 if end is None else end
        which = f"{offset}" if self.end == offset + 1 else f"{offset}-{self.end - 1}"
        super().__init__(f"{stream}/{partition}@{which} can't be read: {reason}")


class InvalidOffsetMetadata(DispatchError):
    """Raised when commit metadata was written by another program, or is damaged."""


class KafkaUnavailable(DispatchError):
    """Raised when an Apache Kafka can't be had on this machine, or does not start; the message says why."""
