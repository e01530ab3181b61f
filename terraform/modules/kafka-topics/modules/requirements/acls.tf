# Kafka gives Describe to whoever has Read or Write, so that it is said alone where there is neither.
locals {
  dispatcher = concat(
    [for topic in setunion(local.consumed, local.retry) : ["Read", "Topic", "Literal", topic]],
    [for topic in setunion(local.emitted, local.dead, local.written_retry) : ["Write", "Topic", "Literal", topic]],
    [for f in local.functions : ["Read", "Group", "Literal", f.group]],
    # How many dead letters wait is counted against what redrives have done with them.
    [for f in local.functions : ["Describe", "Group", "Literal", "${f.group}.redrive"] if f.retry.then != "drop"],
    var.remote_control ? [["Read", "Topic", "Literal", local.control]] : [],
    var.remote_control && local.pauses_itself ? [["Write", "Topic", "Literal", local.control]] : [],
  )
  operator = concat(
    # A replay runs the function where the command is typed.
    [for topic in setunion(local.consumed, local.dead) : ["Read", "Topic", "Literal", topic]],
    [for topic in setunion(local.emitted, local.dead, local.retry) : ["Write", "Topic", "Literal", topic]],
    [for f in local.functions : ["Read", "Group", "Literal", f.group]],
    # <group>.redrive, and <group>.replay-<id> of each replay.
    [for f in local.functions : ["Read", "Group", "Prefixed", "${f.group}."]],
    [for operation in ["Read", "Write"] : [operation, "Topic", "Literal", local.journal]],
    var.remote_control ? [for operation in ["Read", "Write"] : [operation, "Topic", "Literal", local.control]] : [],
  )
  rules = concat(
    [for rule in local.dispatcher : concat([var.principal], rule)],
    flatten([for operator in var.operators : [for rule in local.operator : { rule = concat([operator], rule) }]])[*].rule,
  )
  # A rule that follows from two reasons is one.
  acls = {
    for rule in distinct(local.rules) : join(" ", rule) => {
      principal = rule[0], operation = rule[1], resource_type = rule[2], pattern = rule[3], resource_name = rule[4]
    }
  }
}
