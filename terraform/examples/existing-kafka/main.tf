# A Kafka outside of AWS, or self-managed in it: SCRAM over TLS, the password in Secrets Manager, topics made beforehand.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

module "dispatcher" {
  source = "../../modules/aws-ecs-dispatcher"

  name          = var.name
  image         = var.image
  manifest      = jsondecode(file("${path.module}/manifest.json"))
  create_topics = false

  kafka = {
    bootstrap_servers = var.bootstrap_servers
    port              = 9093
    sasl_mechanism    = "SCRAM-SHA-512"
    username          = "shop"
    password_secret   = var.password_secret
    ca_file           = "/etc/ssl/kafka/ca.pem"
    cidr_blocks       = var.broker_cidr_blocks
  }

  vpc_id     = var.vpc_id
  subnet_ids = var.subnet_ids
}
