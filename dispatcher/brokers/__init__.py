"""Where streams live: one protocol, real Kafka and an embedded log behind it."""
