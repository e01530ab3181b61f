variable "region" {
  description = "Where."
  type        = string
  default     = "eu-west-1"
}

variable "name" {
  description = "The beginning of all names."
  type        = string
  default     = "shop"
}

variable "image" {
  description = "The app's image, in ECR: ACCOUNT.dkr.ecr.REGION.amazonaws.com/shop:1.0.0"
  type        = string
}

variable "collector_image" {
  description = "aws-observability/aws-otel-collector, with a tag."
  type        = string
}

variable "lambda_zip" {
  description = "The package of check_limit."
  type        = string
  default     = "check_limit.zip"
}
