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

output "make_streams" {
  description = "The task that makes what the functions consume, with the operator's role: for aws ecs run-task --cli-input-json."
  value = jsonencode({
    cluster        = module.dispatcher.cluster_arn
    taskDefinition = module.dispatcher.task_definition_arn
    launchType     = "FARGATE"
    networkConfiguration = {
      awsvpcConfiguration = {
        subnets        = module.network.private_subnet_ids
        securityGroups = [module.dispatcher.security_group_id]
        assignPublicIp = "DISABLED"
      }
    }
    overrides = {
      taskRoleArn = aws_iam_role.operator.arn
      containerOverrides = [{
        name    = "dispatcher"
        command = ["streams", "create", one(local.streams), "--partitions", "12"]
      }]
    }
  })
}

output "operator_policy_arn" {
  description = "What a machine in the network needs to make and fill these streams."
  value       = aws_iam_policy.operator.arn
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
