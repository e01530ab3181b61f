output "service_account" {
  description = "E-mail of the account that the dispatchers run as: `User:<it>` in Kafka's ACLs."
  value       = google_service_account.this.email
}

output "worker_pool" {
  description = "ID of the worker pool."
  value       = google_cloud_run_v2_worker_pool.this.id
}
