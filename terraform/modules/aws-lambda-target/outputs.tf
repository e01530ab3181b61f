output "alias_arn" {
  description = "What the dispatcher calls: for lambda_targets of module aws-ecs-dispatcher."
  value       = aws_lambda_alias.live.arn
}

output "function_name" {
  description = "The function."
  value       = aws_lambda_function.this.function_name
}

output "version" {
  description = "Which version is live."
  value       = aws_lambda_alias.live.function_version
}

output "role_name" {
  description = "The function's role: attach here what it reaches."
  value       = aws_iam_role.this.name
}

output "log_group_name" {
  description = "Where its logs are."
  value       = aws_cloudwatch_log_group.this.name
}
