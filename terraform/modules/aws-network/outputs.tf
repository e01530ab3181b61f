output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "One a zone."
  value       = values(aws_subnet.private)[*].id
}

output "https_egress" {
  description = "For https_egress of module aws-ecs-dispatcher: how far its tasks have to reach."
  value = {
    cidr_blocks     = var.egress == "nat" ? ["0.0.0.0/0"] : [var.cidr]
    prefix_list_ids = var.egress == "nat" ? [] : [aws_vpc_endpoint.s3.prefix_list_id]
  }
}
