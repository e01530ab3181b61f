variable "name" {
  description = "Of the service."
  type        = string
  default     = "shop"
}

variable "image" {
  description = "The app's image."
  type        = string
}

variable "msk" {
  description = "The cluster that is there."
  type = object({
    bootstrap_servers = string
    cluster_arn       = string
    security_group_id = string
  })
}

variable "vpc_id" {
  description = "The VPC that is there."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in it, from which AWS's APIs can be reached."
  type        = list(string)
}
