# This folder makes nothing: Terraform has tests beside a configuration, and these plan the examples.
terraform {
  required_version = ">= 1.9"
}
