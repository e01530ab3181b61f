output "service_account" {
  description = "As whom the dispatcher connects."
  value       = module.dispatcher.service_account
}

output "worker_pool" {
  description = "ID of the worker pool."
  value       = module.dispatcher.worker_pool
}
