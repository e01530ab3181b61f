output "streams" {
  description = "The topics to make that functions consume, or emit to: their events are somebody's. By name: partitions, config."
  value       = { for topic, each in local.made : topic => each if contains(local.streams, topic) }
}

output "own" {
  description = "The other topics to make: dead letters, retries, control, journal. By name: partitions, config."
  value = merge(
    { for topic, each in local.made : topic => each if !contains(local.streams, topic) },
    local.of_the_app,
  )
}

output "acls" {
  description = "The rights to give, by a name of their own: principal, operation, resource_type, pattern, resource_name."
  value       = local.acls
}
