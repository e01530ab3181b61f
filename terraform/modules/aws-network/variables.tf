variable "name" {
  description = "The beginning of all names."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name is 3 to 40 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "cidr" {
  description = "Of the VPC, /16 to /22."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 22, false)
    error_message = "cidr is an IPv4 network between /16 and /22."
  }
}

variable "zones" {
  description = "How many availability zones: 2 or 3."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "zones is 2 or 3: one is no second place, and MSK wants two at the least."
  }
}

variable "egress" {
  description = <<-EOT
    How private subnets reach AWS's APIs. nat: one NAT gateway, and with it the internet. endpoints: VPC endpoints for what a dispatcher
    needs (ECR, S3, CloudWatch Logs, Secrets Manager, SSM, Lambda), and no internet at all.
  EOT
  type        = string
  default     = "nat"

  validation {
    condition     = contains(["nat", "endpoints"], var.egress)
    error_message = "egress is nat or endpoints."
  }
}

variable "tags" {
  description = "Of everything."
  type        = map(string)
  default     = {}
}
