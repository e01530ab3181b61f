variable "manifest" {
  description = <<-EOT
    What `dispatch manifest` printed: `jsondecode(file("manifest.json"))`. Streams, groups, dead-letter and retry topics are read
    from it, so that a function which is added in Python changes no Terraform code.
  EOT
  type = object({
    version = number
    app     = string
    functions = list(object({
      name         = string
      streams      = list(string)
      group        = string
      order        = string
      emits        = optional(string)
      retry        = object({ then = string })
      dead_letter  = object({ topics = map(string) })
      retry_topics = map(string)
    }))
  })

  validation {
    condition     = var.manifest.version == 1
    error_message = "This module reads manifests of version 1."
  }

  validation {
    condition     = length(var.manifest.functions) > 0
    error_message = "The manifest has no function."
  }

  validation {
    condition = alltrue([
      for name in flatten([
        var.manifest.app,
        [for f in var.manifest.functions : [f.streams, compact([f.emits]), values(f.dead_letter.topics), values(f.retry_topics), f.group]]
      ]) : can(regex("^[a-zA-Z0-9._-]{1,249}$", name))
    ])
    error_message = "A stream or group of the manifest is no name of Kafka's: a * in it would widen the rights."
  }
}

variable "principal" {
  description = "The user as whom the dispatchers connect, as Kafka's ACLs write it: `User:shop`, or `User:CN=shop` with mTLS."
  type        = string

  validation {
    condition     = can(regex("^User:[^*]+$", var.principal))
    error_message = "principal is User:<name>, one user and not User:*."
  }
}

variable "operators" {
  description = "Users who may redrive dead letters, replay, pause and resume: `User:anna`. None by default; the dispatcher needs none of it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.operators : can(regex("^User:[^*]+$", each))])
    error_message = "operators are User:<name>, each one user and not User:*."
  }
}

variable "partitions" {
  description = "Of each consumed stream that `streams` says nothing else of. What functions write to, and none consumes, has as many as its source."
  type        = number
  default     = 12

  validation {
    condition     = var.partitions >= 1 && var.partitions <= 10000 && floor(var.partitions) == var.partitions
    error_message = "partitions is a whole number, 1 to 10,000."
  }
}

variable "replication_factor" {
  description = "Copies of each partition."
  type        = number
  default     = 3

  validation {
    condition     = var.replication_factor >= 1 && floor(var.replication_factor) == var.replication_factor
    error_message = "replication_factor is a whole number, 1 or more."
  }
}

variable "min_insync_replicas" {
  description = "Copies that must have what is acknowledged: less than replication_factor, so that a broker may restart."
  type        = number
  default     = 2

  validation {
    condition     = var.min_insync_replicas >= 1 && var.min_insync_replicas <= var.replication_factor
    error_message = "min_insync_replicas is 1 to replication_factor."
  }
}

variable "streams" {
  description = <<-EOT
    What is said of single topics of the manifest, by name. create = false: it is there already, or another's to make; only the
    rights on it are given, and `partitions` says how many it has. config: Kafka's settings of a topic.
  EOT
  type = map(object({
    create     = optional(bool, true)
    partitions = optional(number)
    config     = optional(map(string), {})
  }))
  default = {}

  validation {
    condition     = alltrue([for each in values(var.streams) : each.partitions == null || coalesce(each.partitions, 1) >= 1])
    error_message = "streams.*.partitions is 1 or more."
  }

  validation {
    condition = length(setsubtract(keys(var.streams), flatten([
      for f in var.manifest.functions : [f.streams, compact([f.emits]), values(f.dead_letter.topics), values(f.retry_topics)]
    ]))) == 0
    error_message = "streams names a topic that no function of the manifest consumes or writes to."
  }
}

variable "max_message_bytes" {
  description = "The largest record that streams take. Dead-letter and retry topics take 64 KiB more, for the headers that are added."
  type        = number
  default     = 1048588

  validation {
    condition     = var.max_message_bytes >= 1024
    error_message = "max_message_bytes is 1,024 or more."
  }
}

variable "retention_days" {
  description = "Days that streams are kept, -1 for ever. What is to be replayed must still be there."
  type        = number
  default     = 7

  validation {
    condition     = var.retention_days == -1 || var.retention_days > 0
    error_message = "retention_days is more than 0, or -1."
  }
}

variable "dead_letter_retention_days" {
  description = "Days that dead letters wait for somebody, -1 for ever."
  type        = number
  default     = 30

  validation {
    condition     = var.dead_letter_retention_days == -1 || var.dead_letter_retention_days > 0
    error_message = "dead_letter_retention_days is more than 0, or -1."
  }
}

variable "remote_control" {
  description = "The control stream, by which functions are paused and resumed. False for dispatchers with `control = \"off\"`."
  type        = bool
  default     = true
}
