variable "manifest" {
  description = "What `dispatch manifest` printed, decoded."
  type = object({
    app = string
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
}

variable "principal" {
  description = "`User:<name>` as whom the dispatchers connect."
  type        = string
}

variable "operators" {
  description = "`User:<name>` of each who may redrive, replay, reset, pause and resume."
  type        = set(string)
  default     = []
}

variable "partitions" {
  description = "Of each consumed stream that `streams` says nothing else of."
  type        = number
  default     = 12
}

variable "min_insync_replicas" {
  description = "Copies that must have what is acknowledged."
  type        = number
  default     = 2
}

variable "streams" {
  description = "What is said of single topics of the manifest, by name."
  type = map(object({
    create     = optional(bool, true)
    partitions = optional(number)
    config     = optional(map(string), {})
  }))
  default = {}
}

variable "max_message_bytes" {
  description = "The largest record that streams take."
  type        = number
  default     = 1048588
}

variable "retention_days" {
  description = "Days that streams are kept, -1 for ever."
  type        = number
  default     = 7
}

variable "dead_letter_retention_days" {
  description = "Days that dead letters wait for somebody, -1 for ever."
  type        = number
  default     = 30
}

variable "remote_control" {
  description = "The control stream, by which functions are paused and resumed."
  type        = bool
  default     = true
}
