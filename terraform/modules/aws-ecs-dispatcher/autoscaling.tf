# Without a policy too: it is what starts or ends tasks when `tasks` changes, since the service's own count is ignored after the first apply.
resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${local.cluster.name}/${aws_ecs_service.this.name}"
  min_capacity       = var.tasks.min
  max_capacity       = var.tasks.max
  tags               = var.tags
}

# Each sample is what one task has left to do, so the average over the samples is the backlog per task, however many tasks there are and however
# often they were scraped in that minute. A sum would have to be divided by a number of tasks that CloudWatch learns from elsewhere, and later.
resource "aws_appautoscaling_policy" "backlog" {
  count              = var.tasks.max > var.tasks.min ? 1 : 0
  name               = "${var.name}-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value = var.backlog_per_task
    # Each step is a rebalance of all groups: give it the time to show what it brought.
    scale_out_cooldown = 120
    scale_in_cooldown  = 300

    customized_metric_specification {
      namespace   = local.namespace
      metric_name = local.app_backlog
      statistic   = "Average"

      dimensions {
        name  = "app"
        value = var.manifest.app
      }
    }
  }
}
