# Topics and rights are those of any Kafka; here they get Google's names.
module "kafka" {
  source = "../../modules/kafka-topics/modules/requirements"

  manifest  = local.manifest
  principal = local.dispatcher
  operators = var.operators
}

locals {
  # Stands for the dispatcher's account, whose name is not known before it is made, while the keys of a for_each must be.
  dispatcher = "User:dispatcher"

  consumed = toset(flatten([for each in local.manifest.functions : each.streams]))
  produces = flatten([
    for stream in local.consumed : [
      for producer in var.producers : {
        principal = producer, operation = "Write", resource_type = "Topic", pattern = "Literal", resource_name = stream
      }
    ]
  ])

  kinds = { Topic = "topic", Group = "consumerGroup" }
  # Google has one ACL for each resource, with all its rules in it.
  acls = {
    for rule in distinct(concat(values(module.kafka.acls), local.produces)) :
    "${local.kinds[rule.resource_type]}${rule.pattern == "Prefixed" ? "Prefixed" : ""}/${rule.resource_name}" =>
    { principal = rule.principal, operation = upper(rule.operation) }...
  }
}
