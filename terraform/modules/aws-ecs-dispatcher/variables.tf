variable "name" {
  description = "Of the service, and the beginning of the names of all that belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name is 3 to 40 lower-case letters, digits and dashes, and begins with a letter: role names add to it."
  }
}

variable "image" {
  description = "The app's image: its functions, dispatch.toml and dispatch-runtime with the extras that are used ([msk], [aws])."
  type        = string

  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image ends with a digest (@sha256:...) or a tag other than latest: a restart must not change what runs."
  }
}

variable "architecture" {
  description = "Of the image: X86_64 or ARM64."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "architecture is X86_64 or ARM64."
  }
}

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
      target       = string
      streams      = list(string)
      group        = string
      order        = string
      emits        = optional(string)
      timeout      = number
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
    condition     = length(var.manifest.functions) > 0 && length(var.manifest.functions) <= 50
    error_message = "A manifest for one dispatcher has 1 to 50 functions: IAM attaches ten policies to a role. Part it: dispatch manifest --only."
  }

  validation {
    condition = alltrue([
      for topic in flatten([
        for f in var.manifest.functions : [f.streams, compact([f.emits]), values(f.dead_letter.topics), values(f.retry_topics), f.group]
      ]) : can(regex("^[a-zA-Z0-9._-]{1,249}$", topic))
    ])
    error_message = "A stream or group of the manifest is no name of Kafka's: a * or / in it would widen the role's rights."
  }
}

variable "arguments" {
  description = "What follows `dispatch run`: the folder or the module of the functions in the image."
  type        = list(string)
  default     = ["functions/"]

  validation {
    condition     = !anytrue([for each in var.arguments : startswith(each, "--workers")])
    error_message = "One process a task: the health check is about one. Let tasks grow instead of --workers."
  }
}

variable "kafka" {
  description = <<-EOT
    The cluster, and as whom.
    bootstrap_servers: `host:port,host:port`. port: of the brokers, for the security group.
    sasl_mechanism: AWS_MSK_IAM (with the task's role, cluster_arn says which cluster), SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN (with
    username, and password_secret: the ARN of a Secrets Manager secret, or of one key in it, or of an SSM parameter), or null (TLS alone).
    ca_file: certificates to trust, a path in the image; the system's own when it is left out.
    security_group_ids, cidr_blocks: where the brokers are; tasks may reach them there and nowhere else.
  EOT
  type = object({
    bootstrap_servers  = string
    port               = optional(number, 9098)
    sasl_mechanism     = optional(string, "AWS_MSK_IAM")
    cluster_arn        = optional(string)
    username           = optional(string)
    password_secret    = optional(string)
    ca_file            = optional(string)
    security_group_ids = optional(list(string), [])
    cidr_blocks        = optional(list(string), [])
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+:[0-9]+(,[A-Za-z0-9._-]+:[0-9]+)*$", var.kafka.bootstrap_servers))
    error_message = "kafka.bootstrap_servers is host:port, or several parted by commas, without kafka:// and without a user."
  }

  validation {
    condition     = var.kafka.sasl_mechanism == null || contains(["AWS_MSK_IAM", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"], coalesce(var.kafka.sasl_mechanism, "-"))
    error_message = "kafka.sasl_mechanism is AWS_MSK_IAM, SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or null."
  }

  validation {
    condition     = (var.kafka.sasl_mechanism == "AWS_MSK_IAM") == (var.kafka.cluster_arn != null)
    error_message = "AWS_MSK_IAM needs kafka.cluster_arn, to which the role's rights are limited; the other mechanisms have no use for it."
  }

  validation {
    condition = contains(["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"], coalesce(var.kafka.sasl_mechanism, "-")) == (
      var.kafka.username != null && var.kafka.password_secret != null
    )
    error_message = "SCRAM and PLAIN need kafka.username and kafka.password_secret; the other mechanisms have no use for them."
  }

  validation {
    condition     = var.kafka.password_secret == null || can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^*?]+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/[^*?]+)$", coalesce(var.kafka.password_secret, "-")))
    error_message = "kafka.password_secret is the ARN of a secret in Secrets Manager or of a parameter in SSM, never the password itself."
  }
}

variable "lambda_targets" {
  description = <<-EOT
    Where the manifest's functions with the target aws_lambda are: from the function's name to the ARN of its alias or version, as
    module aws-lambda-target gives it. The role may invoke these and nothing else.
  EOT
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.lambda_targets) : can(regex("^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+$", arn))])
    error_message = "lambda_targets holds the ARNs of aliases or versions (arn:aws:lambda:REGION:ACCOUNT:function:NAME:ALIAS), without wildcards."
  }

  validation {
    condition     = join(" ", sort(keys(var.lambda_targets))) == join(" ", sort([for f in var.manifest.functions : f.name if f.target == "aws_lambda"]))
    error_message = "lambda_targets has each function of the manifest whose target is aws_lambda, and no other. Is manifest.json of this version of the code?"
  }
}

variable "environment" {
  description = "More environment variables, in the open: settings (DISPATCH_*) and what functions read. Secrets go into `secrets`."
  type        = map(string)
  default     = {}

  validation {
    condition     = !anytrue([for name in keys(var.environment) : can(regex("(?i)(password|passwd|secret|token|api_?key|private_?key)$", name))])
    error_message = "A name in environment says that it is a secret: pass its ARN in secrets, so that it is in no state, plan or console."
  }

  validation {
    condition = length(setintersection(keys(var.environment), [
      "DISPATCH_APP", "DISPATCH_BROKER", "DISPATCH_CREATE_TOPICS", "DISPATCH_DATA", "DISPATCH_DRAIN", "DISPATCH_MONITORING",
      "DISPATCH_KAFKA__SASL_MECHANISM", "DISPATCH_KAFKA__SECURITY_PROTOCOL", "DISPATCH_KAFKA__USERNAME", "DISPATCH_KAFKA__CA_FILE",
    ])) == 0
    error_message = "environment names a setting that the module makes of its own variables."
  }
}

variable "secrets" {
  description = "Environment variables from Secrets Manager or SSM: from the name to the ARN (or ARN:json-key:: of a secret's key)."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.secrets) : can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^*?]+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/[^*?]+)$", arn))])
    error_message = "secrets holds ARNs of secrets in Secrets Manager or of parameters in SSM, never the secrets themselves."
  }
}

variable "secrets_kms_key_arns" {
  description = "Keys of your own with which these secrets are encrypted."
  type        = list(string)
  default     = []
}

variable "create_topics" {
  description = "Whether the dispatcher makes missing dead-letter, retry and output topics. With false they must be there, as module kafka-topics makes them."
  type        = bool
  default     = true
}

variable "drain" {
  description = "Seconds that a stop waits for the invocations in flight. The task has 20 more to commit and leave its groups; Fargate kills it after 120."
  type        = number
  default     = 25

  validation {
    condition     = var.drain >= 0 && var.drain <= 100
    error_message = "drain is 0 to 100 seconds: Fargate gives a container 120 to stop."
  }
}

variable "user" {
  description = "UID:GID in the container; not root."
  type        = string
  default     = "10001:10001"

  validation {
    condition     = can(regex("^[1-9][0-9]*(:[1-9][0-9]*)?$", var.user))
    error_message = "user is UID or UID:GID in numbers, and not 0."
  }
}

variable "cpu" {
  description = "Of a task, in units of 1/1024 of a processor."
  type        = number
  default     = 256

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "Fargate has 256, 512, 1024, 2048, 4096, 8192 and 16384."
  }
}

variable "memory" {
  description = "Of a task, in MiB."
  type        = number
  default     = 1024

  validation {
    condition     = var.memory >= 512 && var.memory >= var.cpu * 2 && var.memory <= var.cpu * 8
    error_message = "Fargate has 2 to 8 MiB for each unit of cpu, and 512 at the least."
  }
}

variable "cluster" {
  description = "An ECS cluster that is there, with the capacity providers FARGATE and FARGATE_SPOT; one is made when it is left out."
  type = object({
    arn  = string
    name = string
  })
  default = null
}

variable "vpc_id" {
  description = "Where tasks run."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets for the tasks, in several zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "A task needs a subnet."
  }
}

variable "https_egress" {
  description = "Where tasks may speak HTTPS to: AWS's APIs and your HTTP targets. With VPC endpoints: the VPC's cidr_blocks, and S3's prefix list."
  type = object({
    cidr_blocks     = optional(list(string), ["0.0.0.0/0"])
    prefix_list_ids = optional(list(string), [])
  })
  default = {}
}

variable "tasks" {
  description = "How many tasks at the least and at the most. More than the streams have partitions are of no use."
  type = object({
    min = optional(number, 1)
    max = optional(number, 1)
  })
  default = {}

  validation {
    condition     = var.tasks.min >= 1 && var.tasks.max >= var.tasks.min
    error_message = "tasks.min is 1 at the least (the tasks themselves tell the backlog, so nobody would call the first one), and tasks.max no less."
  }

  validation {
    condition     = var.tasks.max == var.tasks.min || var.collector != null
    error_message = "Autoscaling needs the backlog in CloudWatch: set collector, or tasks.max = tasks.min."
  }
}

variable "backlog_per_task" {
  description = "Events that are not done, of all functions, for each task: above, tasks are added; below 90 % of it for 15 minutes, taken away."
  type        = number
  default     = 10000

  validation {
    condition     = var.backlog_per_task > 0
    error_message = "backlog_per_task is above 0: events in one task per second, times the seconds that they may wait."
  }
}

variable "spot_percent" {
  description = "Part of the tasks beyond tasks.min that run on Spot; AWS stops these with two minutes' notice, which is a drain."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percent >= 0 && var.spot_percent <= 100 && floor(var.spot_percent) == var.spot_percent
    error_message = "spot_percent is a whole number, 0 to 100."
  }
}

variable "collector" {
  description = <<-EOT
    A sidecar that brings the metrics to CloudWatch: the image of AWS's distribution of the OpenTelemetry collector
    (aws-observability/aws-otel-collector), with a tag. Without it there is no autoscaling and no alarm on backlog, age, dead letters and pauses.
  EOT
  type = object({
    image  = string
    cpu    = optional(number, 64)
    memory = optional(number, 128)
  })
  default = null

  validation {
    condition     = var.collector == null || (can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$", try(var.collector.image, ""))) && !endswith(try(var.collector.image, ""), ":latest"))
    error_message = "collector.image ends with a digest or a tag other than latest."
  }
}

variable "alarms" {
  description = <<-EOT
    actions: ARNs of SNS topics that are told of an alarm and of its end.
    backlog: events of one function; oldest_age: seconds since the timestamp of the oldest event that is not done; dead_letters: that nobody has dealt with.
  EOT
  type = object({
    actions      = optional(list(string), [])
    backlog      = optional(number, 100000)
    oldest_age   = optional(number, 300)
    dead_letters = optional(number, 0)
  })
  default = {}
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch has 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 and 3653 days."
  }
}

variable "kms_key_arn" {
  description = "A key for the logs, whose policy lets CloudWatch Logs use it; CloudWatch's own when it is left out."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds both roles."
  type        = string
  default     = null
}

variable "tags" {
  description = "Of everything."
  type        = map(string)
  default     = {}
}
