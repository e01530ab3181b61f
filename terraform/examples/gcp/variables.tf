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

variable "producers" {
  description = "Who writes to the streams that functions consume, as `User:<e-mail>`: once a topic has an ACL, those who are not in it are shut out."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.producers : can(regex("^User:[^*@]+@[^*]+$", each))])
    error_message = "producers are User:<e-mail>, each one account and not User:*."
  }
}

variable "operators" {
  description = "Who may redrive, replay, reset, pause and resume, as `User:<e-mail>`."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.operators : can(regex("^User:[^*@]+@[^*]+$", each))])
    error_message = "operators are User:<e-mail>, each one account and not User:*."
  }
}
