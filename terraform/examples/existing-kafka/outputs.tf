output "task_role_arn" {
  description = "As whom the dispatcher acts."
  value       = module.dispatcher.task_role_arn
}
