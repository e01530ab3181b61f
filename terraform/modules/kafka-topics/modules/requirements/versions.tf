terraform {
  # No provider: what Kafka it is for is the caller's to say.
  required_version = ">= 1.9"
}
