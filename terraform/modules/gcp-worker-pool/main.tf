locals {
  # Google kills what has not ended 10 s after SIGTERM, so a drain is over before.
  drain = "8"

  environment = merge(
    {
      DISPATCH_APP    = var.manifest.app
      DISPATCH_BROKER = "kafka://${var.bootstrap_servers}"
      DISPATCH_DRAIN  = local.drain
    },
    var.environment,
  )
}

# A worker pool has no address: nothing reaches it from outside, and nothing has to.
resource "google_cloud_run_v2_worker_pool" "this" {
  project             = var.project
  location            = var.location
  name                = var.name
  description         = "Dispatchers of ${var.manifest.app}"
  labels              = var.labels
  launch_stage        = var.launch_stage
  deletion_protection = var.deletion_protection

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.instances
  }

  template {
    service_account = google_service_account.this.email

    containers {
      name  = "dispatcher"
      image = var.image
      args  = concat(["run"], var.arguments)

      resources {
        limits = {
          cpu    = var.cpu
          memory = var.memory
        }
      }

      dynamic "env" {
        for_each = local.environment
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }
    }

    # All of it: functions with internal ingress are reached by the network alone.
    vpc_access {
      egress = "ALL_TRAFFIC"
      network_interfaces {
        network    = var.network.network
        subnetwork = var.network.subnetwork
        tags       = var.network.tags
      }
    }
  }

  # One that starts before its rights are there ends with an error, and the pool with it.
  depends_on = [
    google_cloud_run_v2_service_iam_member.invokes,
    google_cloudfunctions2_function_iam_member.looks_up,
    google_project_iam_member.connects,
    google_secret_manager_secret_iam_member.reads,
    var.after,
  ]
}
