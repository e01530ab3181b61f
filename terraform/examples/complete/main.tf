# Everything: a network, Kafka (MSK), a function on Lambda, a dispatcher that scales, alarms that somebody hears.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { app = local.manifest.app }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  # Made by: dispatch manifest functions/ > manifest.json
  manifest  = jsondecode(file("${path.module}/manifest.json"))
  functions = { for each in local.manifest.functions : each.name => each }
}

module "network" {
  source = "../../modules/aws-network"

  name   = var.name
  egress = "nat"
}

module "check_limit" {
  source = "../../modules/aws-lambda-target"

  name                 = "${var.name}-check-limit"
  zip_path             = var.lambda_zip
  function             = "function:check_limit"
  dispatcher_role_arn  = module.dispatcher.task_role_arn
  timeout              = 30
  dispatch_timeout     = local.functions["check_limit"].timeout
  reserved_concurrency = local.functions["check_limit"].concurrency * local.tasks.max
  kms_key_arn          = aws_kms_key.logs.arn
}

module "dispatcher" {
  source = "../../modules/aws-ecs-dispatcher"

  name           = var.name
  image          = var.image
  manifest       = local.manifest
  lambda_targets = { check_limit = module.check_limit.alias_arn }

  kafka = {
    bootstrap_servers  = aws_msk_cluster.this.bootstrap_brokers_sasl_iam
    cluster_arn        = aws_msk_cluster.this.arn
    security_group_ids = [aws_security_group.brokers.id]
  }

  vpc_id       = module.network.vpc_id
  subnet_ids   = module.network.private_subnet_ids
  https_egress = module.network.https_egress

  tasks            = local.tasks
  backlog_per_task = 20000
  spot_percent     = 50
  collector        = { image = var.collector_image }

  alarms      = { actions = [aws_sns_topic.alarms.arn], oldest_age = 120 }
  kms_key_arn = aws_kms_key.logs.arn
}

locals {
  tasks = { min = 2, max = 6 }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.logs.id
}

# -- Kafka

resource "aws_security_group" "brokers" {
  name_prefix = "${var.name}-brokers-"
  description = "Kafka, for the dispatcher"
  vpc_id      = module.network.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "brokers" {
  security_group_id            = aws_security_group.brokers.id
  description                  = "Kafka with IAM"
  ip_protocol                  = "tcp"
  from_port                    = 9098
  to_port                      = 9098
  referenced_security_group_id = module.dispatcher.security_group_id
}

# Two brokers of the smallest kind: enough to begin with, and a tenth of the price of three that are not.
resource "aws_msk_cluster" "this" {
  #checkov:skip=CKV_AWS_80:brokers' logs are for whoever runs the cluster; the dispatcher says what it meets
  #checkov:skip=CKV_AWS_81:encrypted with AWS's own key
  cluster_name           = var.name
  kafka_version          = "3.8.x"
  number_of_broker_nodes = 2

  broker_node_group_info {
    instance_type   = "kafka.t3.small"
    client_subnets  = module.network.private_subnet_ids
    security_groups = [aws_security_group.brokers.id]

    storage_info {
      ebs_storage_info {
        volume_size = 50
      }
    }
  }

  client_authentication {
    sasl {
      iam = true
    }
  }

  encryption_info {
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }
}

# -- one key, for the logs, Lambda's environment and the alarms

resource "aws_kms_key" "logs" {
  description         = "Logs and alarms of ${var.name}"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.logs_key.json
}

data "aws_iam_policy_document" "logs_key" {
  #checkov:skip=CKV_AWS_109:a key's policy speaks of that key alone, and without the account's own right nobody could ever change it
  #checkov:skip=CKV_AWS_111:as above
  #checkov:skip=CKV_AWS_356:"*" is this key
  statement {
    sid       = "TheAccountRulesIt"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  statement {
    sid       = "CloudWatchLogsUsesIt"
    actions   = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*", "kms:Describe*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${data.aws_partition.current.partition}:logs:${var.region}:${data.aws_caller_identity.current.account_id}:log-group:*"]
    }
  }

  statement {
    sid       = "AlarmsUseIt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}
