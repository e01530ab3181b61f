output "task_role_arn" {
  description = "As whom the dispatcher acts: give it to aws-lambda-target, and to what else its functions may reach."
  value       = aws_iam_role.task.arn
}

output "task_role_name" {
  description = "To attach policies for what functions in the process reach."
  value       = aws_iam_role.task.name
}

output "execution_role_arn" {
  description = "As whom ECS starts the tasks: a secret's or key's own policy may have to name it."
  value       = aws_iam_role.execution.arn
}

output "security_group_id" {
  description = "Of the tasks: let it in where the brokers are."
  value       = aws_security_group.this.id
}

output "cluster_arn" {
  description = "The ECS cluster."
  value       = local.cluster.arn
}

output "service_name" {
  description = "The ECS service."
  value       = aws_ecs_service.this.name
}

output "task_definition_arn" {
  description = "The revision that the service runs."
  value       = aws_ecs_task_definition.this.arn
}

output "log_group_name" {
  description = "Where the logs are."
  value       = aws_cloudwatch_log_group.dispatcher.name
}

output "alarm_names" {
  description = "All alarms."
  value       = sort(concat([for alarm in aws_cloudwatch_metric_alarm.function : alarm.alarm_name], [aws_cloudwatch_metric_alarm.no_tasks.alarm_name]))
}
