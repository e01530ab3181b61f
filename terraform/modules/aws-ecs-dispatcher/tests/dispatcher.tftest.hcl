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
  name  = "shop"
  image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/shop:1.4.2"

  # As `dispatch manifest` prints it, with what the module does not read left out.
  manifest = {
    version = 1
    app     = "shop"
    functions = [
      {
        name         = "check-limit"
        target       = "aws_lambda"
        streams      = ["orders"]
        group        = "shop.check-limit"
        order        = "key"
        emits        = "limits.breached"
        timeout      = 30
        retry        = { then = "dead_letter" }
        dead_letter  = { topics = { orders = "orders.check-limit.dead" } }
        retry_topics = { orders = "orders.check-limit.retry" }
      },
      {
        name         = "score"
        target       = "local"
        streams      = ["clicks"]
        group        = "shop.score"
        order        = "none"
        timeout      = 30
        retry        = { then = "drop" }
        dead_letter  = { topics = { clicks = "clicks.score.dead" } }
        retry_topics = { clicks = "clicks.score.retry" }
      },
    ]
  }

  lambda_targets = { check-limit = "arn:aws:lambda:eu-central-1:123456789012:function:check-limit:live" }

  kafka = {
    bootstrap_servers  = "b-1.shop.kafka:9098,b-2.shop.kafka:9098"
    cluster_arn        = "arn:aws:kafka:eu-west-1:123456789012:cluster/shop/0a1b2c3d-1"
    security_group_ids = ["sg-0123456789abcdef0"]
  }

  vpc_id     = "vpc-0123456789abcdef0"
  subnet_ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  secrets    = { LEDGER_KEY = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/ledger-AbCdEf:key::" }
}

run "it_may_invoke_that_one_function_and_nothing_else" {
  command = plan

  assert {
    condition = [for each in jsondecode(data.aws_iam_policy_document.task.json).Statement : each.Resource if strcontains(jsonencode(each.Action), "lambda:")] == [
      "arn:aws:lambda:eu-central-1:123456789012:function:check-limit:live"
    ]
    error_message = "The role may invoke something else: ${data.aws_iam_policy_document.task.json}"
  }

  assert {
    condition     = [for each in jsondecode(data.aws_iam_policy_document.task.json).Statement : each.Action if strcontains(jsonencode(each.Action), "lambda:")] == ["lambda:InvokeFunction"]
    error_message = "The role may do something else to the function."
  }

  assert {
    condition = jsondecode(one([for each in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : each.value if each.name == "DISPATCH_FUNCTIONS__CHECK_LIMIT__TARGET"])) == {
      type      = "aws_lambda"
      function  = "arn:aws:lambda:eu-central-1:123456789012:function:check-limit"
      qualifier = "live"
      region    = "eu-central-1"
    }
    error_message = "The dispatcher is told of another target than its role may invoke."
  }
}

run "on_kafka_it_may_what_the_manifest_says" {
  command = plan

  assert {
    condition = jsonencode({
      for each in jsondecode(data.aws_iam_policy_document.kafka["0"].json).Statement : each.Sid => sort(flatten([each.Resource]))
      }) == jsonencode({
      Read                = [for topic in sort(["orders.check-limit.retry", "orders", "clicks.score.retry", "clicks"]) : "arn:aws:kafka:eu-west-1:123456789012:topic/shop/0a1b2c3d-1/${topic}"]
      Write               = [for topic in sort(["orders.check-limit.dead", "limits.breached", "clicks.score.retry"]) : "arn:aws:kafka:eu-west-1:123456789012:topic/shop/0a1b2c3d-1/${topic}"]
      SeeTheSizeOfSources = [for topic in sort(["orders", "clicks"]) : "arn:aws:kafka:eu-west-1:123456789012:topic/shop/0a1b2c3d-1/${topic}"]
      Consume             = [for group in sort(["shop.score", "shop.check-limit"]) : "arn:aws:kafka:eu-west-1:123456789012:group/shop/0a1b2c3d-1/${group}"]
      CountDeadLetters    = ["arn:aws:kafka:eu-west-1:123456789012:group/shop/0a1b2c3d-1/shop.check-limit.redrive"]
    })
    error_message = "The rights on Kafka are others: ${data.aws_iam_policy_document.kafka["0"].json}"
  }

  assert {
    condition     = toset(one([for each in jsondecode(data.aws_iam_policy_document.kafka["0"].json).Statement : each.Action if each.Sid == "Write"])) == toset(["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData", "kafka-cluster:CreateTopic"])
    error_message = "It may do something else to what it writes."
  }

  assert {
    condition = jsonencode({ for each in jsondecode(data.aws_iam_policy_document.task.json).Statement : each.Sid => [each.Action, each.Resource] if strcontains(jsonencode(each.Action), "kafka-cluster:") }) == jsonencode({
      Connect      = [["kafka-cluster:WriteDataIdempotently", "kafka-cluster:Connect"], "arn:aws:kafka:eu-west-1:123456789012:cluster/shop/0a1b2c3d-1"]
      HearCommands = [["kafka-cluster:ReadData", "kafka-cluster:DescribeTopic"], "arn:aws:kafka:eu-west-1:123456789012:topic/shop/0a1b2c3d-1/_dispatch.control.shop"]
    })
    error_message = "What all functions share is another: ${data.aws_iam_policy_document.task.json}"
  }
}

run "no_right_is_on_everything" {
  command = plan

  variables {
    collector = { image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-otel-collector:v0.43.3" }
  }

  # One action of ECR's takes no resource; names of log streams are made by ECS.
  assert {
    condition = [
      for each in flatten([for each in [data.aws_iam_policy_document.task, data.aws_iam_policy_document.execution, data.aws_iam_policy_document.kafka["0"]] : jsondecode(each.json).Statement]) : each.Action
      if anytrue([for resource in flatten([each.Resource]) : strcontains(replace(resource, "/:log-stream:\\*$/", ""), "*")])
    ] == ["ecr:GetAuthorizationToken"]
    error_message = "A statement has a wildcard."
  }

  assert {
    condition     = !anytrue([for each in flatten([for each in [data.aws_iam_policy_document.task, data.aws_iam_policy_document.execution, data.aws_iam_policy_document.kafka["0"]] : jsondecode(each.json).Statement]) : strcontains(jsonencode(each.Action), "*")])
    error_message = "A statement allows actions by a wildcard."
  }

  assert {
    condition = jsonencode({
      for each in jsondecode(data.aws_iam_policy_document.execution.json).Statement : each.Sid => sort(flatten([each.Resource]))
      }) == jsonencode({
      WriteLogs           = ["arn:aws:logs:eu-west-1:123456789012:log-group:/dispatch/shop:log-stream:*"]
      PullImages          = ["arn:aws:ecr:eu-west-1:123456789012:repository/aws-otel-collector", "arn:aws:ecr:eu-west-1:123456789012:repository/team/shop"]
      SignInToTheRegistry = ["*"]
      ReadSecrets         = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/ledger-AbCdEf"]
    })
    error_message = "ECS may do something else: ${data.aws_iam_policy_document.execution.json}"
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.assume.json).Statement[0].Principal == { Service = "ecs-tasks.amazonaws.com" }
    error_message = "Somebody else than ECS may take the roles."
  }
}

run "the_container_is_locked_down_and_stops_in_time" {
  command = plan

  variables {
    drain = 60
  }

  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user == "10001:10001" &&
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].linuxParameters.capabilities.drop == ["ALL"]
    )
    error_message = "The container may write to its root, is root, or has capabilities."
  }

  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout == 80 &&
      one([for each in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : each.value if each.name == "DISPATCH_DRAIN"]) == "60"
    )
    error_message = "The task is killed before it has drained."
  }

  assert {
    condition     = strcontains(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command[3], "http://127.0.0.1:9464/livez")
    error_message = "ECS does not ask /livez."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback && !aws_ecs_service.this.network_configuration[0].assign_public_ip
    error_message = "A bad version is not rolled back, or tasks have public addresses."
  }
}

run "secrets_are_named_and_never_held" {
  command = plan

  variables {
    create_topics = false
    kafka = {
      bootstrap_servers = "kafka-1.example:9093"
      port              = 9093
      sasl_mechanism    = "SCRAM-SHA-512"
      username          = "shop"
      password_secret   = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/kafka"
      cidr_blocks       = ["10.0.0.0/16"]
    }
  }

  assert {
    condition = { for each in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].secrets : each.name => each.valueFrom } == {
      DISPATCH_KAFKA__PASSWORD = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/kafka"
      LEDGER_KEY               = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/ledger-AbCdEf:key::"
    }
    error_message = "Secrets do not come by reference."
  }

  assert {
    condition     = one([for each in jsondecode(data.aws_iam_policy_document.execution.json).Statement : each.Resource if each.Action == "ssm:GetParameters"]) == "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/kafka"
    error_message = "ECS can't read the password."
  }

  assert {
    condition     = length(data.aws_iam_policy_document.kafka) == 0 && !strcontains(data.aws_iam_policy_document.task.json, "kafka-cluster:")
    error_message = "With a password the role needs no rights on Kafka."
  }

  assert {
    condition     = toset([for each in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : each.value if startswith(each.name, "DISPATCH_KAFKA__")]) == toset(["SASL_SSL", "SCRAM-SHA-512", "shop"])
    error_message = "The settings of Kafka are others."
  }
}

run "a_function_more_in_python_is_no_line_more_here" {
  command = plan

  variables {
    manifest = {
      version = 1
      app     = "shop"
      functions = [for name in ["a", "b", "c", "d", "e", "f"] : {
        name        = name, target = "local", streams = ["orders"], group = "shop.${name}", order = "key", timeout = 30, retry = { then = name == "c" ? "pause" : "dead_letter" }
        dead_letter = { topics = { orders = "orders.${name}.dead" } }, retry_topics = { orders = "orders.${name}.retry" }
      }]
    }
    lambda_targets = {}
    collector      = { image = "aws-otel-collector:v0.43.3" }
    tasks          = { min = 2, max = 6 }
    spot_percent   = 75
  }

  assert {
    condition     = length(output.alarm_names) == 6 * 4 + 1
    error_message = "Each function has four alarms, and the service one."
  }

  assert {
    condition     = join(" ", keys(aws_iam_policy.kafka)) == "0 1" && length(data.aws_iam_policy_document.kafka["0"].minified_json) < 6144 && strcontains(data.aws_iam_policy_document.kafka["1"].json, "orders.f.dead")
    error_message = "The rights of many functions do not fit into policies."
  }

  # A function that pauses itself says so in the control stream.
  assert {
    condition     = contains(one([for each in jsondecode(data.aws_iam_policy_document.task.json).Statement : each.Action if each.Sid == "HearCommands"]), "kafka-cluster:WriteData")
    error_message = "A pause of its own can't be kept."
  }

  assert {
    condition = (
      aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 6 &&
      aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metric_name == "dispatch_app_backlog_events" &&
      aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].statistic == "Average"
    )
    error_message = "It does not scale on the backlog of a task."
  }

  assert {
    condition     = { for each in aws_ecs_service.this.capacity_provider_strategy : each.capacity_provider => "${coalesce(each.base, 0)}+${each.weight}" } == { FARGATE = "2+25", FARGATE_SPOT = "0+75" }
    error_message = "The share of Spot is another."
  }

  assert {
    condition     = aws_ecs_service.this.force_new_deployment
    error_message = "A change of tasks.min or spot_percent replaces the service."
  }

  # What alarms and autoscaling read is what the collector sends.
  assert {
    condition = toset(concat(
      [for each in aws_cloudwatch_metric_alarm.function : each.metric_name],
      [aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metric_name],
    )) == toset(flatten(yamldecode(one([for each in jsondecode(aws_ecs_task_definition.this.container_definitions) : each.environment[0].value if each.name == "collector"])).exporters.awsemf.metric_declarations[*].metric_name_selectors))
    error_message = "The collector sends other metrics than those that are read."
  }

  assert {
    condition     = toset([for each in aws_cloudwatch_metric_alarm.function : each.namespace]) == toset(["Dispatch/shop"])
    error_message = "Its alarms are on another dispatcher's metrics."
  }
}

run "a_dispatcher_has_a_namespace_of_its_own" {
  command = plan

  variables {
    name      = "shop-staging"
    collector = { image = "aws-otel-collector:v0.43.3" }
    tasks     = { min = 1, max = 2 }
  }

  assert {
    condition = toset(concat(
      [for each in aws_cloudwatch_metric_alarm.function : each.namespace],
      [aws_appautoscaling_policy.backlog[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].namespace],
      [yamldecode(one([for each in jsondecode(aws_ecs_task_definition.this.container_definitions) : each.environment[0].value if each.name == "collector"])).exporters.awsemf.namespace],
    )) == toset(["Dispatch/shop-staging"])
    error_message = "Another dispatcher of the same app is measured with it."
  }
}

run "without_a_collector_there_is_one_alarm_and_no_autoscaling" {
  command = plan

  variables {
    tasks = { min = 3, max = 3 }
  }

  assert {
    condition     = join(" ", output.alarm_names) == "shop-no-tasks" && length(aws_appautoscaling_policy.backlog) == 0 && length(jsondecode(aws_ecs_task_definition.this.container_definitions)) == 1
    error_message = "There are alarms on metrics that nobody sends."
  }

  # After the first apply the service's own count is ignored.
  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 3 && aws_appautoscaling_target.this.max_capacity == 3
    error_message = "Nobody starts the tasks that are more than at the first apply."
  }
}

run "what_can_not_be_is_refused" {
  command = plan

  variables {
    name               = "S"
    image              = "shop:latest"
    architecture       = "sparc"
    arguments          = ["functions/", "--workers=4"]
    environment        = { DISPATCH_KAFKA__PASSWORD = "s3cret" }
    secrets            = { LEDGER_KEY = "s3cret" }
    drain              = 110
    user               = "0:0"
    cpu                = 300
    subnet_ids         = []
    tasks              = { min = 1, max = 4 } # and there is no collector
    backlog_per_task   = 0
    spot_percent       = 101
    log_retention_days = 2
    lambda_targets     = {}
    kafka = {
      bootstrap_servers = "kafka://user:password@b-1:9098"
      sasl_mechanism    = "SCRAM-SHA-512"
      username          = "shop"
      password_secret   = "s3cret"
    }
  }

  expect_failures = [
    var.name, var.image, var.architecture, var.arguments, var.environment, var.secrets, var.drain, var.user, var.cpu, var.subnet_ids,
    var.tasks, var.backlog_per_task, var.spot_percent, var.log_retention_days, var.lambda_targets, var.kafka,
  ]
}

run "iam_without_a_cluster_is_refused" {
  command = plan

  variables {
    kafka          = { bootstrap_servers = "b-1.shop.kafka:9098" }
    lambda_targets = { check-limit = "arn:aws:lambda:eu-west-1:123456789012:function:*" }
    environment    = { DISPATCH_DRAIN = "5" }
    collector      = { image = "aws-otel-collector" }
    memory         = 4096 # and cpu is 256
  }

  expect_failures = [var.memory, var.kafka, var.lambda_targets, var.environment, var.collector]
}

run "a_name_that_would_widen_a_right_is_refused" {
  command = plan

  variables {
    lambda_targets = {}
    manifest = {
      version = 2
      app     = "shop"
      functions = [{
        name        = "a", target = "local", streams = ["*"], group = "shop.a", order = "key", timeout = 30, retry = { then = "drop" }
        dead_letter = { topics = {} }, retry_topics = {}
      }]
    }
  }

  expect_failures = [var.manifest]
}
