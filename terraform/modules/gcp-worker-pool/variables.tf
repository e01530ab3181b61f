variable "project" {
  description = "The Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is a project's ID, not its name or number."
  }
}

variable "location" {
  description = "The region, such as europe-west1."
  type        = string
}

variable "name" {
  description = "Of the worker pool, and of its service account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "name is 6 to 30 lower-case letters, digits and dashes, and begins with a letter: the service account has it too."
  }
}

variable "image" {
  description = "The app's image: its functions, dispatch.toml with the targets, and dispatch-runtime[google]."
  type        = string

  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image ends with a digest (@sha256:...) or a tag other than latest: a restart must not change what runs."
  }
}

variable "manifest" {
  description = "What `dispatch manifest` printed: `jsondecode(file(\"manifest.json\"))`."
  type = object({
    version   = number
    app       = string
    functions = list(object({ name = string, target = string }))
  })

  validation {
    condition     = var.manifest.version == 1
    error_message = "This module reads manifests of version 1."
  }

  validation {
    condition     = length(var.manifest.functions) > 0
    error_message = "The manifest has no function."
  }
}

variable "functions" {
  description = <<-EOT
    The Cloud Run functions that are called, by the function's name in the manifest: each exactly one that the service account may invoke.
    lookup = false where dispatch.toml says its `url`: then it may not be looked up either.
  EOT
  type = map(object({
    name     = string
    location = optional(string)
    lookup   = optional(bool, true)
  }))
  default = {}

  validation {
    condition = toset(keys(var.functions)) == toset([
      for each in var.manifest.functions : each.name if each.target == "google_function"
    ])
    error_message = "functions names the functions of the manifest whose target is google_function: these, and no others."
  }
}

variable "arguments" {
  description = "What follows `dispatch run`: the folder or the module of the functions in the image."
  type        = list(string)
  default     = ["functions/"]
}

variable "bootstrap_servers" {
  description = "`host:port,host:port` of the cluster; how to log on is said in dispatch.toml, secrets in `secrets`."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+:[0-9]+(,[A-Za-z0-9._-]+:[0-9]+)*$", var.bootstrap_servers))
    error_message = "bootstrap_servers is host:port, or several parted by commas, without kafka:// and without a user."
  }
}

variable "managed_kafka" {
  description = "The cluster is Google's Managed Service for Apache Kafka, to which the service account may connect. Its rights there are Kafka's ACLs."
  type        = bool
  default     = false
}

variable "instances" {
  description = "Processes at work. Worker pools scale by hand: more than there are partitions stand idle."
  type        = number
  default     = 1

  validation {
    condition     = var.instances >= 0 && floor(var.instances) == var.instances
    error_message = "instances is a whole number, 0 or more."
  }
}

variable "cpu" {
  description = "Processors of an instance."
  type        = string
  default     = "1"
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory))
    error_message = "memory is a number with Mi or Gi."
  }
}

variable "environment" {
  description = "Environment variables, in the open: DISPATCH_* and those of the functions."
  type        = map(string)
  default     = {}

  validation {
    condition     = !anytrue([for name in keys(var.environment) : can(regex("(?i)(password|passwd|secret|token|api_?key|private_?key)$", name))])
    error_message = "A name in environment says that it is a secret: name its place in secrets, so that it is in no state, plan or console."
  }
}

variable "secrets" {
  description = "Environment variables whose values are in Secret Manager, such as DISPATCH_KAFKA__PASSWORD. The service account may read these and no others."
  type = map(object({
    secret  = string
    version = optional(string, "latest")
  }))
  default = {}
}

variable "network" {
  description = "The VPC network and subnetwork by which Kafka and functions with internal ingress are reached."
  type = object({
    network    = string
    subnetwork = string
    tags       = optional(list(string), [])
  })
}

variable "after" {
  description = "IDs of what must be there before the dispatchers start: the cluster's topics and ACLs, which themselves need the service account."
  type        = list(string)
  default     = []
}

variable "launch_stage" {
  description = "BETA where Google still has worker pools as a preview, else GA."
  type        = string
  default     = "BETA"

  validation {
    condition     = contains(["BETA", "GA"], var.launch_stage)
    error_message = "launch_stage is BETA or GA."
  }
}

variable "deletion_protection" {
  description = "Keeps the pool from being destroyed until this is false."
  type        = bool
  default     = true
}

variable "labels" {
  description = "Of the pool."
  type        = map(string)
  default     = {}
}
