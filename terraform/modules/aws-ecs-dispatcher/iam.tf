# Two roles. What ECS needs to start the task: the image, the logs, the secrets by their ARNs. What the dispatcher needs when it runs: the
# streams of the manifest, its Lambda functions, and nothing else.

locals {
  images = compact([var.image, try(var.collector.image, "")])
  # ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG; another registry's image is pulled without rights.
  repositories = distinct([
    for parts in [for image in local.images : try(regex("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/([^:@]+)", image), null)] :
    "arn:${local.partition}:ecr:${parts[1]}:${parts[0]}:repository/${parts[2]}" if parts != null
  ])

  # ARN:json-key:version-stage:version-id of a secret; the right is on the secret.
  secret_arns     = distinct([for arn in values(local.secrets) : join(":", slice(split(":", arn), 0, 7)) if element(split(":", arn), 2) == "secretsmanager"])
  parameter_arns  = distinct([for arn in values(local.secrets) : arn if element(split(":", arn), 2) == "ssm"])
  logs_arn_prefix = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group"

  # Parted, because a policy may have 6,144 characters, and each function names some seven ARNs of a hundred. IAM lets ten be attached.
  parts = { for index, functions in chunklist(var.manifest.functions, 5) : tostring(index) => functions if local.uses_iam }

  # The same as the dispatcher's own: what functions read and what they write.
  rights = { for index, functions in local.parts : index => {
    sources = sort(distinct(flatten(functions[*].streams)))
    reads   = sort(distinct(flatten([for f in functions : [f.streams, values(f.retry_topics)]])))
    writes = sort(distinct(flatten([for f in functions : [
      f.retry.then == "drop" ? [] : values(f.dead_letter.topics),
      f.order == "none" ? values(f.retry_topics) : [],
      compact([f.emits]),
    ]])))
    groups = sort(distinct(functions[*].group))
    # What is dropped on purpose is no dead letter.
    redrives = sort(distinct([for f in functions : "${f.group}.redrive" if f.retry.then != "drop"]))
  } }
  control = "_dispatch.control.${var.manifest.app}"
  # A function that pauses itself says so there.
  pauses = anytrue([for f in var.manifest.functions : f.retry.then == "pause"])

  uses_iam = var.kafka.sasl_mechanism == "AWS_MSK_IAM"
  # ...:cluster/NAME/UUID has its topics at ...:topic/NAME/UUID/TOPIC.
  topic_prefix = var.kafka.cluster_arn == null ? "" : replace(var.kafka.cluster_arn, ":cluster/", ":topic/")
  group_prefix = var.kafka.cluster_arn == null ? "" : replace(var.kafka.cluster_arn, ":cluster/", ":group/")
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  description          = "ECS starts tasks of ${var.name} with it"
  assume_role_policy   = data.aws_iam_policy_document.assume.json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role" "task" {
  name                 = "${var.name}-task"
  description          = "The dispatcher ${var.name} acts with it"
  assume_role_policy   = data.aws_iam_policy_document.assume.json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${local.logs_arn_prefix}:${local.log_group}:log-stream:*"]
  }

  dynamic "statement" {
    for_each = length(local.repositories) > 0 ? [local.repositories] : []
    content {
      sid       = "PullImages"
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(local.repositories) > 0 ? [1] : []
    content {
      # The one wildcard: this action takes no resource.
      sid       = "SignInToTheRegistry"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(local.secret_arns) > 0 ? [local.secret_arns] : []
    content {
      sid       = "ReadSecrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(local.parameter_arns) > 0 ? [local.parameter_arns] : []
    content {
      sid       = "ReadParameters"
      actions   = ["ssm:GetParameters"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(var.secrets_kms_key_arns) > 0 ? [var.secrets_kms_key_arns] : []
    content {
      sid       = "DecryptSecrets"
      actions   = ["kms:Decrypt"]
      resources = statement.value
    }
  }
}

data "aws_iam_policy_document" "task" {
  dynamic "statement" {
    for_each = length(var.lambda_targets) > 0 ? [sort(distinct(values(var.lambda_targets)))] : []
    content {
      sid       = "InvokeTargets"
      actions   = ["lambda:InvokeFunction"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = local.uses_iam ? [1] : []
    content {
      sid       = "Connect"
      actions   = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"]
      resources = [var.kafka.cluster_arn]
    }
  }

  dynamic "statement" {
    for_each = local.uses_iam ? [1] : []
    content {
      sid = "HearCommands"
      actions = concat(
        ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
        local.pauses ? ["kafka-cluster:WriteData"] : [],
        local.pauses && var.create_topics ? ["kafka-cluster:CreateTopic"] : [],
      )
      resources = ["${local.topic_prefix}/${local.control}"]
    }
  }

  dynamic "statement" {
    for_each = var.collector == null ? [] : [1]
    content {
      sid       = "WriteMetrics"
      actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${local.logs_arn_prefix}:${local.metrics_group}:log-stream:*"]
    }
  }
}

data "aws_iam_policy_document" "kafka" {
  for_each = local.rights

  statement {
    sid       = "Read"
    actions   = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"]
    resources = [for topic in each.value.reads : "${local.topic_prefix}/${topic}"]
  }

  dynamic "statement" {
    for_each = length(each.value.writes) > 0 ? [each.value.writes] : []
    content {
      sid       = "Write"
      actions   = concat(["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"], var.create_topics ? ["kafka-cluster:CreateTopic"] : [])
      resources = [for topic in statement.value : "${local.topic_prefix}/${topic}"]
    }
  }

  dynamic "statement" {
    for_each = var.create_topics ? [each.value.sources] : []
    content {
      # A dead letter is larger than its event: its topic is made by the size that the source takes.
      sid       = "SeeTheSizeOfSources"
      actions   = ["kafka-cluster:DescribeTopicDynamicConfiguration"]
      resources = [for topic in statement.value : "${local.topic_prefix}/${topic}"]
    }
  }

  statement {
    sid       = "Consume"
    actions   = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"]
    resources = [for group in each.value.groups : "${local.group_prefix}/${group}"]
  }

  dynamic "statement" {
    for_each = length(each.value.redrives) > 0 ? [each.value.redrives] : []
    content {
      # How many dead letters wait: what was sent back is remembered in this group's commits.
      sid       = "CountDeadLetters"
      actions   = ["kafka-cluster:DescribeGroup"]
      resources = [for group in statement.value : "${local.group_prefix}/${group}"]
    }
  }
}

locals {
  # A role without a statement is refused; with SCRAM, functions in the process and no collector there is none to give.
  task_needs_rights = local.uses_iam || length(var.lambda_targets) > 0 || var.collector != null
}

resource "aws_iam_role_policy" "execution" {
  name   = "execution"
  role   = aws_iam_role.execution.name
  policy = data.aws_iam_policy_document.execution.json
}

resource "aws_iam_role_policy" "task" {
  count  = local.task_needs_rights ? 1 : 0
  name   = "task"
  role   = aws_iam_role.task.name
  policy = data.aws_iam_policy_document.task.json
}

resource "aws_iam_policy" "kafka" {
  for_each    = local.rights
  name        = "${var.name}-kafka-${each.key}"
  description = "Streams and groups of ${join(", ", local.parts[each.key][*].name)}"
  policy      = data.aws_iam_policy_document.kafka[each.key].minified_json
  tags        = var.tags

  lifecycle {
    precondition {
      condition     = length(data.aws_iam_policy_document.kafka[each.key].minified_json) <= 6144
      error_message = "The rights of five functions are longer than the 6,144 characters that a policy may have: part the app into two dispatchers (dispatch manifest --only)."
    }
  }
}

resource "aws_iam_role_policy_attachment" "kafka" {
  for_each   = local.rights
  role       = aws_iam_role.task.name
  policy_arn = aws_iam_policy.kafka[each.key].arn
}
