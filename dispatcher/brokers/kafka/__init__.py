"""Apache Kafka, through aiokafka."""

from dispatcher.brokers.kafka.broker import KafkaBroker
from dispatcher.brokers.kafka.settings import KafkaSettings

__all__ = ["KafkaBroker", "KafkaSettings"]
