variable "project" {
  description = "The Google Cloud project."
  type        = string
}

variable "location" {
  description = "The region."
  type        = string
  default     = "europe-west1"
}

variable "image" {
  description = "The app's image, with a digest."
  type        = string
}

variable "source_bucket" {
  description = "The bucket that holds each function's source as <name>.zip."
  type        = string
}
