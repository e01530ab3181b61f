# The examples by plans with the real provider and no AWS. tests/terraform applies them to moto besides.

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

override_data {
  target = module.dispatcher.data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

run "minimal" {
  command = plan
  module {
    source = "../examples/minimal"
  }
  variables {
    name       = "minimal"
    image      = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:1.0.0"
    vpc_id     = "vpc-0a1b2c3d"
    subnet_ids = ["subnet-0a1b2c3d"]
    msk = {
      bootstrap_servers = "kafka-1.example:9098"
      cluster_arn       = "arn:aws:kafka:eu-west-1:123456789012:cluster/shop/0a1b2c3d-1"
      security_group_id = "sg-0a1b2c3d"
    }
  }

  assert {
    condition     = module.dispatcher.service_name == "minimal"
    error_message = "The service has the name that was given."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.brokers.security_group_id == "sg-0a1b2c3d"
      && aws_vpc_security_group_ingress_rule.brokers.from_port == 9098
      && aws_vpc_security_group_ingress_rule.brokers.to_port == 9098
      && aws_vpc_security_group_ingress_rule.brokers.cidr_ipv4 == null
    )
    error_message = "The brokers let in the dispatcher alone, on the port for IAM alone."
  }
}

run "existing_kafka" {
  command = plan
  module {
    source = "../examples/existing-kafka"
  }
  variables {
    name               = "existing-kafka"
    image              = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:1.0.0"
    vpc_id             = "vpc-0a1b2c3d"
    subnet_ids         = ["subnet-0a1b2c3d"]
    bootstrap_servers  = "kafka-1.example:9093"
    password_secret    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-AbCdEf:password::"
    broker_cidr_blocks = ["10.9.0.0/16"]
  }

  assert {
    condition     = module.dispatcher.service_name == "existing-kafka"
    error_message = "The service has the name that was given."
  }
}
