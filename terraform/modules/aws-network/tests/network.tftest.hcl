provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_availability_zones.available
  values = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
}

variables {
  name = "shop"
}

run "tasks_are_in_private_subnets_of_two_zones" {
  command = plan

  assert {
    condition     = [for each in aws_subnet.private : each.cidr_block] == ["10.42.0.0/19", "10.42.32.0/19"] && !anytrue([for each in aws_subnet.private : each.map_public_ip_on_launch])
    error_message = "The private subnets are others."
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_vpc_endpoint.interface) == 0
    error_message = "With egress = nat there is one NAT gateway and no interface endpoint."
  }
}

run "with_endpoints_there_is_no_way_to_the_internet" {
  command = plan

  variables {
    egress = "endpoints"
    zones  = 3
  }

  assert {
    condition     = length(aws_nat_gateway.this) + length(aws_internet_gateway.this) + length(aws_subnet.public) + length(aws_route.nat) == 0
    error_message = "There is a way out."
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm", "lambda"]) && length(aws_subnet.private) == 3
    error_message = "An API that a dispatcher needs can't be reached."
  }

  assert {
    condition     = jsonencode(output.https_egress.cidr_blocks) == jsonencode(["10.42.0.0/16"])
    error_message = "Tasks are let out further than the endpoints are."
  }
}

run "what_can_not_be_is_refused" {
  command = plan

  variables {
    name   = "Shop"
    cidr   = "10.0.0.0/28"
    zones  = 1
    egress = "vpn"
  }

  expect_failures = [var.name, var.cidr, var.zones, var.egress]
}
