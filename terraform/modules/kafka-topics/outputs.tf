output "topics" {
  description = "The topics that were made, with their partitions."
  value       = { for name, topic in kafka_topic.this : name => topic.partitions }
}

output "acls" {
  description = "The rights that were given: principal, operation, resource_type, pattern, resource_name."
  value       = values(local.acls)
}
