# Managed Kafka, the functions of the manifest on Cloud Run, and a dispatcher between them, in a network of their own.
locals {
  manifest  = jsondecode(file("${path.module}/manifest.json"))
  functions = { for each in local.manifest.functions : each.name => each if each.target == "google_function" }
  cluster   = google_managed_kafka_cluster.this.cluster_id
  user      = "User:${module.dispatcher.service_account}"
}

resource "google_compute_network" "this" {
  name                    = "dispatch"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  name                     = "dispatch"
  region                   = var.location
  network                  = google_compute_network.this.id
  ip_cidr_range            = "10.60.0.0/22"
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Whoever talks here has begun it: nothing comes in.
resource "google_compute_firewall" "no_ingress" {
  name          = "dispatch-no-ingress"
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  priority      = 65534
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

resource "google_managed_kafka_cluster" "this" {
  cluster_id = "dispatch"
  location   = var.location

  capacity_config {
    vcpu_count   = "3"
    memory_bytes = "3221225472"
  }

  gcp_config {
    access_config {
      network_configs {
        subnet = google_compute_subnetwork.this.id
      }
    }
  }

  rebalance_config {
    mode = "AUTO_REBALANCE_ON_SCALE_UP"
  }
}

# What functions consume and emit outlives them: others read and write it too.
resource "google_managed_kafka_topic" "stream" {
  for_each = module.kafka.streams

  cluster            = local.cluster
  location           = var.location
  topic_id           = each.key
  partition_count    = each.value.partitions
  replication_factor = 3
  configs            = each.value.config

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_managed_kafka_topic" "own" {
  for_each = module.kafka.own

  cluster            = local.cluster
  location           = var.location
  topic_id           = each.key
  partition_count    = each.value.partitions
  replication_factor = 3
  configs            = each.value.config
}

resource "google_managed_kafka_acl" "this" {
  for_each = local.acls

  cluster  = local.cluster
  location = var.location
  acl_id   = each.key

  dynamic "acl_entries" {
    for_each = each.value
    content {
      principal = acl_entries.value.principal == local.dispatcher ? local.user : acl_entries.value.principal
      operation = acl_entries.value.operation
      host      = "*"
    }
  }

  depends_on = [google_managed_kafka_topic.stream, google_managed_kafka_topic.own]
}

resource "google_service_account" "function" {
  account_id   = "dispatch-function"
  display_name = "The functions, which need no right by themselves"
}

resource "google_cloudfunctions2_function" "this" {
  for_each = local.functions

  name     = replace(each.key, "_", "-")
  location = var.location

  build_config {
    runtime     = "python313"
    entry_point = "main"
    source {
      storage_source {
        bucket = var.source_bucket
        object = "${each.key}.zip"
      }
    }
  }

  service_config {
    # Called with a token of the dispatcher's account, from the network; nobody else may, and nobody comes from outside.
    ingress_settings      = "ALLOW_INTERNAL_ONLY"
    service_account_email = google_service_account.function.email
    available_memory      = "256M"
    # Less than the dispatcher's: what it gives up must not run on.
    timeout_seconds                  = max(1, ceil(each.value.timeout) - 1)
    max_instance_request_concurrency = 1
    max_instance_count               = 20
  }
}

module "dispatcher" {
  source = "../../modules/gcp-worker-pool"

  project  = var.project
  location = var.location
  name     = "dispatch-shop"
  image    = var.image
  manifest = local.manifest

  functions         = { for name, each in google_cloudfunctions2_function.this : name => { name = each.name } }
  managed_kafka     = true
  bootstrap_servers = "bootstrap.${google_managed_kafka_cluster.this.cluster_id}.${var.location}.managedkafka.${var.project}.cloud.goog:9092"

  network = {
    network    = google_compute_network.this.id
    subnetwork = google_compute_subnetwork.this.id
  }

  after = [for each in google_managed_kafka_acl.this : each.id]
}
