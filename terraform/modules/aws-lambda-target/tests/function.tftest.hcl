# Plans with the real provider and no AWS: policy documents are computed, so that what a role may do can be asserted.

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  name                = "check-limit"
  zip_path            = "tests/function.tftest.hcl" # any file: a plan reads its hash alone
  function            = "function:check_limit"
  dispatcher_role_arn = "arn:aws:iam::123456789012:role/shop-task"
}

run "it_may_write_its_own_logs_and_no_more" {
  command = plan

  assert {
    condition = jsondecode(data.aws_iam_policy_document.this.json).Statement == [{
      Sid      = "WriteLogs"
      Effect   = "Allow"
      Action   = ["logs:PutLogEvents", "logs:CreateLogStream"]
      Resource = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/check-limit:log-stream:*"
    }]
    error_message = "The function's role has other rights than its own log group: ${data.aws_iam_policy_document.this.json}"
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.assume.json).Statement[0].Principal == { Service = "lambda.amazonaws.com" }
    error_message = "Somebody else than Lambda may take the function's role."
  }
}

run "the_dispatcher_alone_calls_the_alias" {
  command = plan

  assert {
    condition = (
      aws_lambda_permission.dispatcher.principal == "arn:aws:iam::123456789012:role/shop-task" &&
      aws_lambda_permission.dispatcher.qualifier == "live" && aws_lambda_permission.dispatcher.action == "lambda:InvokeFunction"
    )
    error_message = "The permission is not for the dispatcher's role on the alias."
  }
}

run "retries_are_the_dispatchers" {
  command = plan

  assert {
    condition     = aws_lambda_function_event_invoke_config.live.maximum_retry_attempts == 0 && aws_lambda_function_event_invoke_config.live.maximum_event_age_in_seconds == 60
    error_message = "Lambda would try again what the dispatcher tries again."
  }

  assert {
    condition     = length(aws_lambda_function.this.dead_letter_config) == 0
    error_message = "There is a second place for dead letters."
  }
}

run "what_is_given_is_set" {
  command = plan

  variables {
    reserved_concurrency = 48
    dispatch_timeout     = 31
    secret_arns          = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:ledger-AbCdEf"]
    environment          = { SHOP_CURRENCY = "USD" }
    log_retention_days   = 7
  }

  assert {
    condition = (
      aws_lambda_function.this.reserved_concurrent_executions == 48 && aws_lambda_function.this.publish &&
      aws_lambda_function.this.environment[0].variables == tomap({ DISPATCH_FUNCTION = "function:check_limit", SHOP_CURRENCY = "USD" }) && aws_cloudwatch_log_group.this.retention_in_days == 7
    )
    error_message = "A variable is not used."
  }

  assert {
    condition     = one([for each in jsondecode(data.aws_iam_policy_document.this.json).Statement : each.Resource if each.Action == "secretsmanager:GetSecretValue"]) == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ledger-AbCdEf"
    error_message = "It may read other secrets than its own."
  }
}

run "what_can_not_be_is_refused" {
  command = plan

  variables {
    name                 = "with space"
    dispatcher_role_arn  = "arn:aws:iam::123456789012:role/*"
    image_uri            = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/check-limit:latest"
    runtime              = "python3.8"
    architecture         = "sparc"
    memory               = 64
    timeout              = 901
    reserved_concurrency = 0
    environment          = { LEDGER_API_KEY = "s3cret" }
    secret_arns          = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:*"]
    log_retention_days   = 2
  }

  expect_failures = [
    var.name, var.dispatcher_role_arn, var.image_uri, var.runtime, var.architecture, var.memory, var.timeout,
    var.reserved_concurrency, var.environment, var.secret_arns, var.log_retention_days,
  ]
}

run "two_packages_are_refused" {
  command = plan

  variables {
    image_uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/check-limit:1.0.0"
  }

  expect_failures = [var.zip_path]
}

run "a_function_that_is_no_name_of_one_is_refused" {
  command = plan

  variables {
    function = "check_limit"
  }

  expect_failures = [var.function]
}

run "a_package_without_a_function_is_refused" {
  command = plan

  variables {
    function = null
  }

  expect_failures = [var.function]
}

run "it_ends_before_the_dispatcher_gives_it_up" {
  command = plan

  variables {
    timeout          = 60
    dispatch_timeout = 60
  }

  expect_failures = [var.timeout]
}
