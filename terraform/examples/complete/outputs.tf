output "alias_arn" {
  description = "What the dispatcher calls."
  value       = module.check_limit.alias_arn
}

output "bootstrap_servers" {
  description = "The brokers."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_iam
}

output "cluster_arn" {
  description = "The ECS cluster."
  value       = module.dispatcher.cluster_arn
}

output "service_name" {
  description = "The ECS service."
  value       = module.dispatcher.service_name
}

output "task_definition_arn" {
  description = "What the service runs."
  value       = module.dispatcher.task_definition_arn
}

output "network" {
  description = "Where it is, for others that are to be beside it."
  value = {
    vpc_id            = module.network.vpc_id
    subnet_ids        = module.network.private_subnet_ids
    security_group_id = aws_security_group.brokers.id
    cluster_arn       = aws_msk_cluster.this.arn
  }
}
