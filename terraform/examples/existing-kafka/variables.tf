variable "name" {
  description = "Of the service."
  type        = string
  default     = "shop"
}

variable "image" {
  description = "The app's image; the certificates of the cluster's authority are in it."
  type        = string
}

variable "bootstrap_servers" {
  description = "`host:port,host:port`"
  type        = string
}

variable "password_secret" {
  description = "ARN of the secret with the password of the Kafka user shop; ARN:password:: for one key of it."
  type        = string
}

variable "broker_cidr_blocks" {
  description = "Where the brokers are."
  type        = list(string)
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in it, from which AWS's APIs and the brokers can be reached."
  type        = list(string)
}
