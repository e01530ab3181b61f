# How the metrics come to CloudWatch. The dispatcher serves Prometheus' text (and can push OTLP, with the extra `otlp`); neither is an API of
# CloudWatch. AWS's collector beside it scrapes 127.0.0.1 once a minute, adds the partitions of each function up, and writes the sums as log
# lines in CloudWatch's embedded metric format. The dispatcher's port is open to the task alone.

locals {
  # By the dispatcher's name: an app's functions may be parted over several, and staging has the same app as production.
  namespace = "Dispatch/${var.name}"
  # From the metric to how the partitions of one task are added up.
  per_function = {
    dispatch_backlog_events           = "sum"
    dispatch_lag_seconds              = "max"
    dispatch_dead_letter_depth_events = "max"
    dispatch_paused                   = "max"
  }
  app_backlog = "dispatch_app_backlog_events"

  collector_config = {
    receivers = {
      prometheus = {
        config = {
          scrape_configs = [{
            job_name        = "dispatch"
            scrape_interval = "60s"
            static_configs  = [{ targets = [local.monitoring] }]
            metric_relabel_configs = [{
              source_labels = ["__name__"]
              regex         = join("|", keys(local.per_function))
              action        = "keep"
            }]
          }]
        }
      }
    }
    processors = {
      metricstransform = {
        transforms = concat(
          [{
            include    = "dispatch_backlog_events"
            action     = "insert"
            new_name   = local.app_backlog
            operations = [{ action = "aggregate_labels", label_set = ["app"], aggregation_type = "sum" }]
          }],
          [for metric, how in local.per_function : {
            include    = metric
            action     = "update"
            operations = [{ action = "aggregate_labels", label_set = ["app", "function"], aggregation_type = how }]
          }],
        )
      }
    }
    exporters = {
      awsemf = {
        namespace               = local.namespace
        region                  = local.region
        log_group_name          = local.metrics_group
        log_stream_name         = "tasks"
        dimension_rollup_option = "NoDimensionRollup"
        metric_declarations = [
          { dimensions = [["app", "function"]], metric_name_selectors = keys(local.per_function) },
          { dimensions = [["app"]], metric_name_selectors = [local.app_backlog] },
        ]
      }
    }
    service = {
      pipelines = {
        metrics = { receivers = ["prometheus"], processors = ["metricstransform"], exporters = ["awsemf"] }
      }
    }
  }

  collector = [for each in var.collector == null ? [] : [var.collector] : {
    name  = "collector"
    image = each.image
    # Functions go on when it ends; ECS starts it anew.
    essential              = false
    restartPolicy          = { enabled = true, restartAttemptPeriod = 60 }
    cpu                    = each.cpu
    memory                 = each.memory
    user                   = var.user
    readonlyRootFilesystem = true
    environment            = [{ name = "AOT_CONFIG_CONTENT", value = yamlencode(local.collector_config) }]
    mountPoints            = []
    portMappings           = []
    systemControls         = []
    volumesFrom            = []
    linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = local.log_group
        awslogs-region        = local.region
        awslogs-stream-prefix = "collector"
      }
    }
  }]
}

resource "aws_cloudwatch_log_group" "metrics" {
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts with a key of its own; kms_key_arn sets yours
  #checkov:skip=CKV_AWS_338:CloudWatch has made metrics of them by then, which it keeps 15 months
  count             = var.collector == null ? 0 : 1
  name              = local.metrics_group
  retention_in_days = min(7, var.log_retention_days)
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}
