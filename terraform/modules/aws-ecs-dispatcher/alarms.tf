locals {
  metric_alarms = {
    for name, alarm in {
      backlog = {
        # Scrapes are a minute apart and not in step with the clock: over five minutes each task has five of them.
        metric = "dispatch_backlog_events", statistic = "Sum", period = 300, evaluations = 3, threshold = var.alarms.backlog * 5
        text   = "more than ${var.alarms.backlog} events wait, for a quarter of an hour"
      }
      oldest-age = {
        metric = "dispatch_lag_seconds", statistic = "Maximum", period = 60, evaluations = 5, threshold = var.alarms.oldest_age
        text   = "the oldest event that is not done is older than ${var.alarms.oldest_age} s"
      }
      dead-letters = {
        metric = "dispatch_dead_letter_depth_events", statistic = "Maximum", period = 60, evaluations = 2, threshold = var.alarms.dead_letters
        text   = "more than ${var.alarms.dead_letters} dead letters wait for somebody: dispatch errors list"
      }
      paused = {
        metric = "dispatch_paused", statistic = "Maximum", period = 60, evaluations = 15, threshold = 0
        text   = "it is paused: dispatch functions list says by whom and why"
      }
    } : name => alarm if var.collector != null
  }
}

resource "aws_cloudwatch_metric_alarm" "function" {
  for_each = {
    for pair in setproduct(var.manifest.functions[*].name, keys(local.metric_alarms)) : "${pair[0]}/${pair[1]}" => {
      function = pair[0], alarm = local.metric_alarms[pair[1]], name = pair[1]
    }
  }

  alarm_name          = "${var.name}-${each.value.function}-${each.value.name}"
  alarm_description   = "${each.value.function}: ${each.value.alarm.text}"
  namespace           = local.namespace
  metric_name         = each.value.alarm.metric
  statistic           = each.value.alarm.statistic
  period              = each.value.alarm.period
  evaluation_periods  = each.value.alarm.evaluations
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.alarm.threshold
  # Unknown is absent: neither well nor ill. That nothing runs has an alarm of its own.
  treat_missing_data = "missing"
  alarm_actions      = var.alarms.actions
  ok_actions         = var.alarms.actions
  dimensions         = { app = var.manifest.app, function = each.value.function }
  tags               = var.tags
}

resource "aws_cloudwatch_metric_alarm" "no_tasks" {
  alarm_name        = "${var.name}-no-tasks"
  alarm_description = "No task of ${var.name} has run for three minutes"
  namespace         = "AWS/ECS"
  metric_name       = "CPUUtilization"
  # ECS sends a sample for each running task, with or without Container Insights.
  statistic           = "SampleCount"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.actions
  dimensions          = { ClusterName = local.cluster.name, ServiceName = var.name }
  tags                = var.tags
}
