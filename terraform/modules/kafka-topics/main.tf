# Which topics and rights there must be: computed once, for any Kafka.
module "requirements" {
  source = "./modules/requirements"

  manifest                   = var.manifest
  principal                  = var.principal
  operators                  = var.operators
  partitions                 = var.partitions
  min_insync_replicas        = var.min_insync_replicas
  streams                    = var.streams
  max_message_bytes          = var.max_message_bytes
  retention_days             = var.retention_days
  dead_letter_retention_days = var.dead_letter_retention_days
  remote_control             = var.remote_control
}

# What functions consume and emit outlives them: others read and write it too.
resource "kafka_topic" "stream" {
  for_each = module.requirements.streams

  name               = each.key
  partitions         = each.value.partitions
  replication_factor = var.replication_factor
  config             = each.value.config

  lifecycle {
    prevent_destroy = true
  }
}

# Dead letters, retries, control and journal are nobody's but the app's, and go with what they are for.
resource "kafka_topic" "own" {
  for_each = module.requirements.own

  name               = each.key
  partitions         = each.value.partitions
  replication_factor = var.replication_factor
  config             = each.value.config
}

resource "kafka_acl" "this" {
  for_each = module.requirements.acls

  acl_principal                = each.value.principal
  acl_host                     = "*"
  acl_operation                = each.value.operation
  acl_permission_type          = "Allow"
  resource_type                = each.value.resource_type
  resource_pattern_type_filter = each.value.pattern
  resource_name                = each.value.resource_name
}
