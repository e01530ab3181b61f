# No roles but these: an account that can do nothing else.
resource "google_service_account" "this" {
  project      = var.project
  account_id   = var.name
  display_name = "Dispatchers of ${var.manifest.app}"
}

# A Cloud Run function is a service of its own name; it is invoked, and that one alone.
resource "google_cloud_run_v2_service_iam_member" "invokes" {
  for_each = var.functions

  project  = var.project
  location = coalesce(each.value.location, var.location)
  name     = each.value.name
  role     = "roles/run.invoker"
  member   = google_service_account.this.member
}

resource "google_cloudfunctions2_function_iam_member" "looks_up" {
  for_each = { for name, function in var.functions : name => function if function.lookup }

  project        = var.project
  location       = coalesce(each.value.location, var.location)
  cloud_function = each.value.name
  role           = "roles/cloudfunctions.viewer"
  member         = google_service_account.this.member
}

resource "google_secret_manager_secret_iam_member" "reads" {
  for_each = toset([for each in values(var.secrets) : each.secret])

  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this.member
}

# To log on; what it may do there is said by Kafka's ACLs. Google has no narrower resource for it than the project.
resource "google_project_iam_member" "connects" {
  count = var.managed_kafka ? 1 : 0

  project = var.project
  role    = "roles/managedkafka.client"
  member  = google_service_account.this.member
}
