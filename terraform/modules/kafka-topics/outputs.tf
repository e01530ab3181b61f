output "topics" {
  description = "The topics that were made, with their partitions."
  value       = { for name, topic in merge(kafka_topic.stream, kafka_topic.own) : name => topic.partitions }
}

output "acls" {
  description = "The rights that were given: principal, operation, resource_type, pattern, resource_name."
  value       = values(module.requirements.acls)
}
