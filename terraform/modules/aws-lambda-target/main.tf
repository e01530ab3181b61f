data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  alias       = "live"
  log_group   = "/aws/lambda/${var.name}"
  environment = merge(var.environment, { for name, value in { DISPATCH_FUNCTION = var.function } : name => value if value != null })
  zip_hash    = var.zip_path == null ? null : filebase64sha256(var.zip_path)
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:log-group:${local.log_group}:log-stream:*"]
  }

  dynamic "statement" {
    for_each = length(var.secret_arns) > 0 ? [var.secret_arns] : []
    content {
      sid       = "ReadSecrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
    content {
      sid       = "DecryptEnvironment"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-function"
  description          = "The function ${var.name} acts with it"
  assume_role_policy   = data.aws_iam_policy_document.assume.json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  name   = "function"
  role   = aws_iam_role.this.name
  policy = data.aws_iam_policy_document.this.json
}

resource "aws_iam_role_policy_attachment" "vpc" {
  # The network interfaces in a VPC have no names before they are made: AWS's own policy for it.
  count      = var.vpc == null ? 0 : 1
  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts with a key of its own; kms_key_arn sets yours
  #checkov:skip=CKV_AWS_338:how long logs are kept is the deployer's to say
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:the dispatcher's trace ends where its call does; X-Ray would sample and charge beside it
  #checkov:skip=CKV_AWS_115:reserved_concurrency sets it; reserving takes it from the account's other functions
  #checkov:skip=CKV_AWS_116:nothing is invoked asynchronously, and the dispatcher has the dead letters
  #checkov:skip=CKV_AWS_117:a function needs no VPC to be called; vpc sets one
  #checkov:skip=CKV_AWS_173:Lambda encrypts with a key of its own, and no secret is in them; kms_key_arn sets yours
  #checkov:skip=CKV_AWS_272:signing is a pipeline's; the package's hash is in the plan
  function_name                  = var.name
  role                           = aws_iam_role.this.arn
  package_type                   = var.image_uri == null ? "Zip" : "Image"
  filename                       = var.zip_path
  source_code_hash               = local.zip_hash
  image_uri                      = var.image_uri
  handler                        = var.image_uri == null ? var.handler : null
  runtime                        = var.image_uri == null ? var.runtime : null
  architectures                  = [var.architecture]
  memory_size                    = var.memory
  timeout                        = var.timeout
  reserved_concurrent_executions = coalesce(var.reserved_concurrency, -1)
  kms_key_arn                    = var.kms_key_arn
  publish                        = true
  tags                           = var.tags

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  dynamic "environment" {
    for_each = length(local.environment) > 0 ? [local.environment] : []
    content {
      variables = environment.value
    }
  }

  dynamic "vpc_config" {
    for_each = var.vpc == null ? [] : [var.vpc]
    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  depends_on = [aws_iam_role_policy.this, aws_iam_role_policy_attachment.vpc]
}

resource "aws_lambda_alias" "live" {
  name             = local.alias
  description      = "What the dispatcher calls"
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version
}

# Retries, order and dead letters are the dispatcher's. Should anybody invoke it asynchronously, Lambda tries nothing again and keeps nothing.
resource "aws_lambda_function_event_invoke_config" "live" {
  function_name                = aws_lambda_function.this.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

resource "aws_lambda_permission" "dispatcher" {
  #checkov:skip=CKV_AWS_364:the principal is one role, and no service whose callers would have to be told apart
  statement_id  = "dispatcher"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  qualifier     = aws_lambda_alias.live.name
  principal     = var.dispatcher_role_arn
}
