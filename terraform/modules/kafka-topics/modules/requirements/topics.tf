locals {
  functions   = var.manifest.functions
  header_room = 65536

  control = "_dispatch.control.${var.manifest.app}"
  journal = "_dispatch.journal.${var.manifest.app}"

  consumed = toset(flatten([for f in local.functions : f.streams]))
  emitted  = toset(compact([for f in local.functions : f.emits]))
  # What is dropped on purpose goes nowhere.
  dead = toset(flatten([for f in local.functions : values(f.dead_letter.topics) if f.retry.then != "drop"]))
  # Dead letters that are redriven come back by it, to every function; an unordered one writes to it itself.
  retry         = toset(flatten([for f in local.functions : values(f.retry_topics)]))
  written_retry = toset(flatten([for f in local.functions : values(f.retry_topics) if f.order == "none"]))
  pauses_itself = anytrue([for f in local.functions : f.retry.then == "pause"])

  # From each topic that a function writes to, to those that its events come from.
  sources = {
    for topic in setunion(local.emitted, local.dead, local.retry) : topic => flatten([
      for f in local.functions : concat(
        [for stream, each in f.dead_letter.topics : stream if each == topic],
        [for stream, each in f.retry_topics : stream if each == topic],
        f.emits == topic ? [f.streams[0]] : [],
      )
    ])
  }
  partitions = {
    for stream in local.consumed : stream => coalesce(try(var.streams[stream].partitions, null), var.partitions)
  }
  sizes = {
    for stream in local.consumed : stream => tonumber(try(var.streams[stream].config["max.message.bytes"], var.max_message_bytes))
  }

  retention = {
    streams = var.retention_days == -1 ? -1 : var.retention_days * 86400000
    dead    = var.dead_letter_retention_days == -1 ? -1 : var.dead_letter_retention_days * 86400000
  }
  common = { "min.insync.replicas" = tostring(var.min_insync_replicas) }

  of_functions = {
    for topic in setunion(local.consumed, local.emitted, local.dead, local.retry) : topic => {
      partitions = coalesce(
        try(var.streams[topic].partitions, null),
        try(local.partitions[topic], null),
        try(max([for source in local.sources[topic] : local.partitions[source]]...), null),
      )
      config = merge(
        local.common,
        {
          "cleanup.policy" = "delete"
          "retention.ms"   = tostring(contains(local.dead, topic) ? local.retention.dead : local.retention.streams)
          "max.message.bytes" = tostring(
            contains(local.dead, topic) || contains(local.retry, topic)
            ? max([for source in local.sources[topic] : local.sizes[source]]...) + local.header_room
            : var.max_message_bytes
          )
        },
        try(var.streams[topic].config, {}),
      )
    }
  }
  # Of one partition: its order is the order of what was said, and the last record of each key counts.
  of_the_app = {
    for topic in concat(var.remote_control ? [local.control] : [], length(var.operators) > 0 ? [local.journal] : []) :
    topic => { partitions = 1, config = merge(local.common, { "cleanup.policy" = "compact" }) }
  }
  made    = { for topic, each in local.of_functions : topic => each if try(var.streams[topic].create, true) }
  streams = setunion(local.consumed, local.emitted)
}
