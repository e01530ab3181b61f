# What is planned for manifests; no broker is asked. tests/terraform_kafka applies the module to a real one.

mock_provider "kafka" {}

variables {
  principal = "User:shop"
  manifest = {
    version = 1
    app     = "shop"
    functions = [
      {
        name         = "check"
        streams      = ["orders", "refunds"]
        group        = "shop.check"
        order        = "key"
        emits        = "checked"
        retry        = { then = "dead_letter" }
        dead_letter  = { topics = { orders = "orders.check.dead", refunds = "refunds.check.dead" } }
        retry_topics = { orders = "orders.check.retry", refunds = "refunds.check.retry" }
      },
      {
        name         = "count"
        streams      = ["checked"]
        group        = "shop.count"
        order        = "none"
        retry        = { then = "drop" }
        dead_letter  = { topics = { checked = "checked.count.dead" } }
        retry_topics = { checked = "checked.count.retry" }
      },
    ]
  }
}

run "topics_follow_their_source" {
  command = plan

  variables {
    streams = {
      orders  = { partitions = 24, config = { "max.message.bytes" = "2000000" } }
      refunds = { partitions = 3, create = false }
    }
  }

  assert {
    condition = tomap(output.topics) == tomap({
      orders                   = 24
      checked                  = 12
      "orders.check.dead"      = 24
      "refunds.check.dead"     = 3
      "orders.check.retry"     = 24
      "refunds.check.retry"    = 3
      "checked.count.retry"    = 12
      "_dispatch.control.shop" = 1
    })
    error_message = "A topic is missing, superfluous, or has another count than its source: ${jsonencode(output.topics)}"
  }

  assert {
    condition     = kafka_topic.own["orders.check.dead"].config["max.message.bytes"] == "2065536"
    error_message = "A dead letter is the event and its headers."
  }

  assert {
    condition     = kafka_topic.own["orders.check.dead"].config["retention.ms"] == "2592000000"
    error_message = "Dead letters wait 30 days."
  }

  assert {
    condition     = kafka_topic.own["_dispatch.control.shop"].config["cleanup.policy"] == "compact"
    error_message = "The last word about a function counts."
  }
}

run "a_dispatcher_has_what_it_needs_and_no_more" {
  command = plan

  assert {
    condition = toset([for each in output.acls : "${each.operation} ${each.resource_type} ${each.pattern} ${each.resource_name}"]) == toset([
      "Read Topic Literal orders",
      "Read Topic Literal refunds",
      "Read Topic Literal checked",
      "Write Topic Literal checked",
      "Write Topic Literal orders.check.dead",
      "Write Topic Literal refunds.check.dead",
      "Read Topic Literal orders.check.retry",
      "Read Topic Literal refunds.check.retry",
      "Read Topic Literal checked.count.retry",
      "Write Topic Literal checked.count.retry",
      "Read Topic Literal _dispatch.control.shop",
      "Read Group Literal shop.check",
      "Read Group Literal shop.count",
      "Describe Group Literal shop.check.redrive",
    ])
    error_message = jsonencode(output.acls)
  }

  assert {
    condition     = alltrue([for each in output.acls : each.principal == "User:shop"])
    error_message = "Nobody else has a right."
  }
}

run "one_who_pauses_himself_may_say_so" {
  command = plan

  variables {
    manifest = {
      version = 1
      app     = "shop"
      functions = [{
        name         = "check", streams = ["orders"], group = "shop.check", order = "key", retry = { then = "pause" }
        dead_letter  = { topics = { orders = "orders.check.dead" } }
        retry_topics = { orders = "orders.check.retry" }
      }]
    }
  }

  assert {
    condition     = contains([for each in output.acls : "${each.operation} ${each.resource_name}"], "Write _dispatch.control.shop")
    error_message = "Its pause is an entry of the control stream."
  }
}

run "operators_have_their_own_rights" {
  command = plan

  variables {
    operators      = ["User:anna"]
    remote_control = false
  }

  assert {
    condition     = contains(keys(output.topics), "_dispatch.journal.shop") && !contains(keys(output.topics), "_dispatch.control.shop")
    error_message = "Redrives are kept in the journal; without remote control there is no control stream."
  }

  assert {
    condition = toset([for each in output.acls : "${each.operation} ${each.resource_name}" if each.pattern == "Prefixed"]) == toset([
      "Read shop.check.", "Read shop.count.",
    ]) && alltrue([for each in output.acls : each.principal == "User:anna" if each.pattern == "Prefixed"])
    error_message = "Groups of redrives and replays are the operators'."
  }
}

run "no_right_for_everybody" {
  command = plan
  variables {
    principal = "User:*"
  }
  expect_failures = [var.principal]
}

run "no_pattern_for_a_name" {
  command = plan
  variables {
    manifest = {
      version = 1
      app     = "shop"
      functions = [{
        name        = "check", streams = ["*"], group = "shop.check", order = "key", retry = { then = "drop" }
        dead_letter = { topics = {} }, retry_topics = {}
      }]
    }
  }
  expect_failures = [var.manifest]
}

run "no_other_version" {
  command = plan
  variables {
    manifest = {
      version = 2
      app     = "shop"
      functions = [{
        name        = "check", streams = ["orders"], group = "shop.check", order = "key", retry = { then = "drop" }
        dead_letter = { topics = {} }, retry_topics = {}
      }]
    }
  }
  expect_failures = [var.manifest]
}

run "no_stream_of_nobody" {
  command = plan
  variables {
    streams = { order = { partitions = 3 } }
  }
  expect_failures = [var.streams]
}

run "no_more_in_sync_than_there_are" {
  command = plan
  variables {
    replication_factor = 1
  }
  expect_failures = [var.min_insync_replicas]
}

# kafka_topic.stream may not be destroyed: what has to be let go of by hand is what others may read or write, and nothing else.
run "streams_are_kept_apart_from_what_goes_with_a_function" {
  command = plan

  assert {
    condition     = toset(keys(kafka_topic.stream)) == toset(["orders", "refunds", "checked"])
    error_message = "What a function consumes or emits is a stream, though another one makes it: ${jsonencode(keys(kafka_topic.stream))}"
  }
}
