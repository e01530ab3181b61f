# A person's hands on this Kafka, which is reached from inside the network alone: a role for tasks that are run once, and its policy by itself,
# for the role of a machine in the network that sends events.

locals {
  streams = distinct(flatten(local.manifest.functions[*].streams))
}

data "aws_iam_policy_document" "operator" {
  statement {
    sid       = "Connect"
    actions   = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"]
    resources = [aws_msk_cluster.this.arn]
  }

  statement {
    sid = "MakeAndFillStreams"
    actions = [
      "kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:WriteData",
    ]
    resources = [for stream in local.streams : "${replace(aws_msk_cluster.this.arn, ":cluster/", ":topic/")}/${stream}"]
  }
}

data "aws_iam_policy_document" "operator_assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_policy" "operator" {
  name        = "${var.name}-operator"
  description = "Make and fill what the functions of ${var.name} consume"
  policy      = data.aws_iam_policy_document.operator.json
}

resource "aws_iam_role" "operator" {
  name               = "${var.name}-operator"
  description        = "Tasks that a person runs once, beside ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.operator_assume.json
}

resource "aws_iam_role_policy_attachment" "operator" {
  role       = aws_iam_role.operator.name
  policy_arn = aws_iam_policy.operator.arn
}
