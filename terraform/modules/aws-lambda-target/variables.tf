variable "name" {
  description = "Of the function, and of its role and log group."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,50}$", var.name))
    error_message = "name is 1 to 50 letters, digits, dashes and underscores: the role's name adds to it."
  }
}

variable "dispatcher_role_arn" {
  description = "The role that the alias's policy lets in, and no other: task_role_arn of module aws-ecs-dispatcher."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/[^*]+$", var.dispatcher_role_arn))
    error_message = "dispatcher_role_arn is the ARN of one role."
  }
}

variable "zip_path" {
  description = "The package: a zip file with the function's code, `bindings` and pydantic. Or image_uri."
  type        = string
  default     = null

  validation {
    condition     = (var.zip_path == null) != (var.image_uri == null)
    error_message = "The package is zip_path or image_uri, one of them."
  }
}

variable "image_uri" {
  description = "The package as an image in ECR, with a digest or a tag other than latest."
  type        = string
  default     = null

  validation {
    condition     = var.image_uri == null || (can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$", coalesce(var.image_uri, "-"))) && !endswith(coalesce(var.image_uri, "-"), ":latest"))
    error_message = "image_uri ends with a digest or a tag other than latest."
  }
}

variable "function" {
  description = "`module:function` in the package, bound with @on_stream, which the handler serves (as DISPATCH_FUNCTION)."
  type        = string
  default     = null

  validation {
    condition     = var.function == null || can(regex("^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$", coalesce(var.function, "-")))
    error_message = "function is module:function."
  }

  validation {
    condition     = var.image_uri != null || (var.function == null) == (var.handler != "bindings.hosts.lambda_function.lambda_handler")
    error_message = "The package's function is said by function; or by a handler of your own, and then function is left out."
  }
}

variable "handler" {
  description = "Of the zip; leave it to bindings' own, or name one that bindings.hosts.aws_lambda.handler has made in your code."
  type        = string
  default     = "bindings.hosts.lambda_function.lambda_handler"
}

variable "runtime" {
  description = "Of the zip."
  type        = string
  default     = "python3.13"

  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13"], var.runtime)
    error_message = "bindings need Python 3.11 or newer: python3.11, python3.12 or python3.13."
  }
}

variable "architecture" {
  description = "For which the package was built: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture is x86_64 or arm64."
  }
}

variable "memory" {
  description = "In MB; the share of a processor goes with it."
  type        = number
  default     = 256

  validation {
    condition     = var.memory >= 128 && var.memory <= 10240
    error_message = "memory is 128 to 10,240 MB."
  }
}

variable "timeout" {
  description = "Seconds that an invocation may take."
  type        = number
  default     = 30

  validation {
    condition     = var.timeout >= 1 && var.timeout <= 900
    error_message = "timeout is 1 to 900 seconds."
  }

  validation {
    condition     = var.dispatch_timeout == null || var.timeout < coalesce(var.dispatch_timeout, 901)
    error_message = "timeout is less than dispatch_timeout: a function that the dispatcher has given up would run on, beside its own next attempt."
  }
}

variable "dispatch_timeout" {
  description = "Seconds after which the dispatcher gives an attempt up: `timeout` of the function in the manifest."
  type        = number
  default     = null
}

variable "reserved_concurrency" {
  description = <<-EOT
    Invocations at once that are kept for this function, and its ceiling: `concurrency` in the manifest times the tasks at the most. None are
    reserved when it is left out; what Lambda throttles costs no attempt either way.
  EOT
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null || coalesce(var.reserved_concurrency, 1) >= 1
    error_message = "reserved_concurrency is 1 or more: with 0 the function would never run. To stop it: dispatch functions pause."
  }
}

variable "environment" {
  description = "Environment variables, in the open. Secrets go into `secret_arns`, and the function reads them."
  type        = map(string)
  default     = {}

  validation {
    condition     = !anytrue([for name in keys(var.environment) : can(regex("(?i)(password|passwd|secret|token|api_?key|private_?key)$", name))])
    error_message = "A name in environment says that it is a secret: pass its ARN in secret_arns and let the function read it, so that it is in no state, plan or console."
  }
}

variable "secret_arns" {
  description = "Secrets of Secrets Manager that the function may read, and no others."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.secret_arns : can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^*?]+$", arn))])
    error_message = "secret_arns holds ARNs of secrets, without wildcards."
  }
}

variable "vpc" {
  description = "Subnets and security groups, for a function that reaches into a VPC. The dispatcher needs none to call it."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
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
  description = "A key for the logs and the environment variables; AWS's own when it is left out."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds the role."
  type        = string
  default     = null
}

variable "tags" {
  description = "Of everything."
  type        = map(string)
  default     = {}
}
