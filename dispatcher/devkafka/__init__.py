"""A real Apache Kafka on this machine, for development and tests: no Docker, no installed Java."""

from dispatcher.devkafka.local import DevKafka, Running
from dispatcher.devkafka.runtime import KAFKA_VERSION, find_classpath, find_java
from dispatcher.devkafka.server import KafkaServer, free_ports
from dispatcher.errors import KafkaUnavailable

__all__ = [
    "KAFKA_VERSION",
    "DevKafka",
    "KafkaServer",
    "KafkaUnavailable",
    "Running",
    "find_classpath",
    "find_java",
    "free_ports",
]
