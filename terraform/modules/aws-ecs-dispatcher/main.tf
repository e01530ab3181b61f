data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  account   = data.aws_caller_identity.current.account_id

  cluster = var.cluster == null ? { arn = one(aws_ecs_cluster.this[*].arn), name = var.name } : var.cluster

  monitoring    = "127.0.0.1:9464"
  log_group     = "/dispatch/${var.name}"
  metrics_group = "/dispatch/${var.name}/metrics"
  password      = var.kafka.password_secret == null ? {} : { DISPATCH_KAFKA__PASSWORD = var.kafka.password_secret }
  secrets       = merge(var.secrets, local.password)

  # A name in a variable has no dashes and no lower case: `dispatch` compares without them.
  targets = {
    for name, arn in var.lambda_targets : "DISPATCH_FUNCTIONS__${upper(replace(name, "-", "_"))}__TARGET" => jsonencode({
      type      = "aws_lambda"
      function  = join(":", slice(split(":", arn), 0, 7))
      qualifier = element(split(":", arn), 7)
      region    = element(split(":", arn), 3)
    })
  }
  kafka = {
    DISPATCH_KAFKA__SECURITY_PROTOCOL = var.kafka.sasl_mechanism == null ? "SSL" : "SASL_SSL"
    DISPATCH_KAFKA__SASL_MECHANISM    = var.kafka.sasl_mechanism
    DISPATCH_KAFKA__AWS_REGION        = var.kafka.cluster_arn == null ? null : element(split(":", var.kafka.cluster_arn), 3)
    DISPATCH_KAFKA__USERNAME          = var.kafka.username
    DISPATCH_KAFKA__CA_FILE           = var.kafka.ca_file
  }
  environment = merge(
    var.environment,
    { for name, value in local.kafka : name => value if value != null },
    local.targets,
    {
      DISPATCH_APP           = var.manifest.app
      DISPATCH_BROKER        = "kafka://${var.kafka.bootstrap_servers}"
      DISPATCH_CREATE_TOPICS = tostring(var.create_topics)
      DISPATCH_DATA          = "/tmp/dispatch"
      DISPATCH_DRAIN         = tostring(var.drain)
      DISPATCH_MONITORING    = local.monitoring
    },
  )

  dispatcher = {
    name                   = "dispatcher"
    image                  = var.image
    essential              = true
    entryPoint             = ["dispatch"]
    command                = concat(["run"], var.arguments, ["--log-format", "json"])
    user                   = var.user
    readonlyRootFilesystem = true
    stopTimeout            = min(120, var.drain + 20)
    environment            = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    secrets                = [for name in sort(keys(local.secrets)) : { name = name, valueFrom = local.secrets[name] }]
    mountPoints            = []
    portMappings           = []
    systemControls         = []
    volumesFrom            = []
    linuxParameters = {
      initProcessEnabled = true
      capabilities       = { add = [], drop = ["ALL"] }
      tmpfs              = [{ containerPath = "/tmp", size = 64 }]
    }
    healthCheck = {
      # The image has Python; curl it may not have. A 503 raises, and so is 1.
      command     = ["CMD", "python", "-c", "import urllib.request; urllib.request.urlopen('http://${local.monitoring}/livez', timeout=4)"]
      interval    = 10
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = local.log_group
        awslogs-region        = local.region
        awslogs-stream-prefix = "dispatcher"
        # The function goes on when CloudWatch does not take its lines.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
  }
}

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:Container Insights costs by the metric and adds none that an alarm here uses
  count = var.cluster == null ? 1 : 0
  name  = var.name
  tags  = var.tags
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  count              = var.cluster == null ? 1 : 0
  cluster_name       = aws_ecs_cluster.this[0].name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "dispatcher" {
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts with a key of its own; kms_key_arn sets yours
  #checkov:skip=CKV_AWS_338:how long logs are kept is the deployer's to say; no payload is in them
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-"
  description = "The dispatcher ${var.name}: nothing comes in"
  vpc_id      = var.vpc_id
  tags        = var.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "kafka_group" {
  # By place: the ids may be known only once they are made.
  count                        = length(var.kafka.security_group_ids)
  security_group_id            = aws_security_group.this.id
  description                  = "Kafka"
  ip_protocol                  = "tcp"
  from_port                    = var.kafka.port
  to_port                      = var.kafka.port
  referenced_security_group_id = var.kafka.security_group_ids[count.index]
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each          = toset(var.kafka.cidr_blocks)
  security_group_id = aws_security_group.this.id
  description       = "Kafka"
  ip_protocol       = "tcp"
  from_port         = var.kafka.port
  to_port           = var.kafka.port
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = toset(var.https_egress.cidr_blocks)
  security_group_id = aws_security_group.this.id
  description       = "AWS APIs and HTTP targets"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "https_prefix_list" {
  count             = length(var.https_egress.prefix_list_ids)
  security_group_id = aws_security_group.this.id
  description       = "AWS APIs behind a gateway endpoint"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = var.https_egress.prefix_list_ids[count.index]
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(concat([local.dispatcher], local.collector))
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  depends_on = [aws_cloudwatch_log_group.dispatcher, aws_cloudwatch_log_group.metrics]
}

resource "aws_ecs_service" "this" {
  name                   = var.name
  cluster                = local.cluster.arn
  task_definition        = aws_ecs_task_definition.this.arn
  desired_count          = var.tasks.min
  platform_version       = "LATEST"
  enable_execute_command = false
  propagate_tags         = "SERVICE"
  # Or the provider replaces the service, and nothing runs meanwhile, when tasks.min or spot_percent changes the strategy.
  force_new_deployment = true
  tags                 = var.tags

  # The new version joins before the old one leaves: partitions move, and no function stands still meanwhile.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  capacity_provider_strategy {
    capacity_provider = "FARGATE"
    base              = var.tasks.min
    weight            = max(1, 100 - var.spot_percent)
  }

  dynamic "capacity_provider_strategy" {
    for_each = var.spot_percent > 0 ? [var.spot_percent] : []
    content {
      capacity_provider = "FARGATE_SPOT"
      weight            = capacity_provider_strategy.value
    }
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this.id]
    assign_public_ip = false
  }

  lifecycle {
    # The scalable target moves it.
    ignore_changes = [desired_count]
  }

  # A task that starts before it has its rights fails, and the circuit breaker takes that for a bad version.
  depends_on = [aws_ecs_cluster_capacity_providers.this, aws_iam_role_policy.task, aws_iam_role_policy.execution, aws_iam_role_policy_attachment.kafka]
}
