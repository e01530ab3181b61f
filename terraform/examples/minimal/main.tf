# The smallest: a VPC and an MSK cluster that are there, functions that run in the dispatcher.

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

  name     = var.name
  image    = var.image
  manifest = jsondecode(file("${path.module}/manifest.json"))

  kafka = {
    bootstrap_servers  = var.msk.bootstrap_servers
    cluster_arn        = var.msk.cluster_arn
    security_group_ids = [var.msk.security_group_id]
  }

  vpc_id     = var.vpc_id
  subnet_ids = var.subnet_ids
}

# The brokers' side of the way there.
resource "aws_vpc_security_group_ingress_rule" "brokers" {
  security_group_id            = var.msk.security_group_id
  description                  = "Kafka with IAM, from the dispatcher"
  ip_protocol                  = "tcp"
  from_port                    = 9098
  to_port                      = 9098
  referenced_security_group_id = module.dispatcher.security_group_id
}
