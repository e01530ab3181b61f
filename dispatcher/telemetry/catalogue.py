"""Every metric: its name, what it counts, and what tells one of its series from another.

Names that begin with ``messaging_`` and ``faas_`` are those of OpenTelemetry's semantic conventions (messaging and FaaS
metrics, as of v1.44), as its Prometheus exporters write them; what these do not know begins with ``dispatch_``.
``docs/operations/metrics.md`` says what to do about each, and a test holds it to this list.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = ["METRICS", "Metric"]

Kind = Literal["counter", "gauge", "histogram"]

_FUNCTION: Final = ("app", "function")
_PARTITION: Final = (*_FUNCTION, "stream", "partition")
_MESSAGING: Final = (*_FUNCTION, "messaging_system", "messaging_consumer_group_name", "messaging_operation_name")


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: as it is scraped; a histogram's has ``_bucket``, ``_sum`` and ``_count`` behind it.
        kind: what it is.
        unit: of its values; empty for 0 and 1.
        labels: of its series.
        text: what it tells.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    text: str


METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(
            "messaging_client_consumed_messages_total", "counter", "events", _MESSAGING,
            "Events fetched, each delivery of the broker's counted.",
        ),
        Metric(
            "messaging_client_sent_messages_total", "counter", "events", (*_MESSAGING, "kind"),
            "Records produced and acknowledged: results, dead letters, copies for a retry topic.",
        ),
        Metric(
            "messaging_process_duration_seconds", "histogram", "seconds", _MESSAGING,
            "How long an invocation took, from its start to its answer, in whatever way it ended.",
        ),
        Metric(
            "faas_invocations_total", "counter", "invocations", (*_FUNCTION, "faas_trigger"),
            "Invocations that went well.",
        ),
        Metric(
            "faas_errors_total", "counter", "invocations", (*_FUNCTION, "faas_trigger"),
            "Invocations that failed, or of which events failed; time-outs too.",
        ),
        Metric(
            "faas_timeouts_total", "counter", "invocations", (*_FUNCTION, "faas_trigger"),
            "Invocations that ended in a time-out.",
        ),
        Metric(
            "dispatch_processed_events_total", "counter", "events", (*_FUNCTION, "outcome"),
            "Events that have come to their end: done, filtered, dead_lettered, dropped, or handed to the retry_topic.",
        ),
        Metric(
            "dispatch_retries_total", "counter", "attempts", _FUNCTION,
            "Failed attempts after which another one was planned.",
        ),
        Metric(
            "dispatch_not_delivered_events_total", "counter", "events", _FUNCTION,
            "Deliveries of events that the target did not take; no attempt was used.",
        ),
        Metric(
            "dispatch_not_delivered_invocations_total", "counter", "invocations", _FUNCTION,
            "Invocations that the target did not take.",
        ),
        Metric(
            "dispatch_dead_letters_total", "counter", "events", (*_FUNCTION, "reason"),
            "Dead letters written, by why.",
        ),
        Metric(
            "dispatch_dead_letter_depth_events", "gauge", "events", _FUNCTION,
            "Dead letters that nobody has sent back or dropped, of the whole function. Absent while it can't be read.",
        ),
        Metric(
            "dispatch_late_results_total", "counter", "events", _FUNCTION,
            "Results that came after their partition had gone, and were ignored.",
        ),
        Metric(
            "dispatch_skipped_events_total", "counter", "events", _FUNCTION,
            "Offsets that were lost to retention, or skipped as corrupt.",
        ),
        Metric(
            "dispatch_commits_total", "counter", "commits", _FUNCTION,
            "Commits that the broker took.",
        ),
        Metric(
            "dispatch_in_flight_invocations", "gauge", "invocations", _FUNCTION,
            "Invocations that run now.",
        ),
        Metric(
            "dispatch_concurrency_limit_invocations", "gauge", "invocations", _FUNCTION,
            "How many may run now; an adaptive limit moves, and a target that takes nothing lowers it.",
        ),
        Metric(
            "dispatch_concurrency_maximum_invocations", "gauge", "invocations", _FUNCTION,
            "How many may ever run.",
        ),
        Metric(
            "dispatch_batch_size_events", "histogram", "events", _FUNCTION,
            "Events in an invocation, of functions that take lists.",
        ),
        Metric(
            "dispatch_waiting_events", "gauge", "events", _FUNCTION,
            "Events in memory that have not started.",
        ),
        Metric(
            "dispatch_parked_events", "gauge", "events", _FUNCTION,
            "Events that failed and wait for their next attempt.",
        ),
        Metric(
            "dispatch_held_bytes", "gauge", "bytes", _FUNCTION,
            "Keys, values and headers of the events in memory.",
        ),
        Metric(
            "dispatch_oldest_incomplete_age_seconds", "gauge", "seconds", _FUNCTION,
            "Since the timestamp of the oldest event that is not done, of all that it holds; 0 when there is none. Absent while it"
            " is not known.",
        ),
        Metric(
            "dispatch_lag_events", "gauge", "events", _PARTITION,
            "From the group's commit to the end of the log, as Kafka's own tools count. Absent while it is not known.",
        ),
        Metric(
            "dispatch_backlog_events", "gauge", "events", _PARTITION,
            "Events that are not done, those done beyond the commit left out. Absent while it is not known.",
        ),
        Metric(
            "dispatch_lag_seconds", "gauge", "seconds", _PARTITION,
            "Since the timestamp of the oldest event that is not done, fetched or not; 0 when there is none. It grows while"
            " nothing moves. Absent while it is not known.",
        ),
        Metric(
            "dispatch_lag_known", "gauge", "", _FUNCTION,
            "1 when lag, backlog and age of all partitions that this process holds are known; 0 when one could not be read.",
        ),
        Metric(
            "dispatch_offset_map_use_ratio", "gauge", "ratio", _PARTITION,
            "The part of the commit metadata's limit that the map of done offsets took, 0 to 1. At 0.75 the partition gets no"
            " new events.",
        ),
        Metric(
            "dispatch_partitions", "gauge", "partitions", _FUNCTION,
            "Partitions that this process holds.",
        ),
        Metric(
            "dispatch_worker_state", "gauge", "", (*_FUNCTION, "state"),
            "1 for the state that it is in: joining, running, paused, draining or stopped.",
        ),
        Metric(
            "dispatch_paused", "gauge", "", _FUNCTION,
            "1 while nothing starts until an operator resumes it.",
        ),
        Metric(
            "dispatch_breaker_state", "gauge", "", (*_FUNCTION, "state"),
            "1 for the state that the circuit breaker is in: closed, open or probing.",
        ),
        Metric(
            "dispatch_no_progress_seconds", "gauge", "seconds", _FUNCTION,
            "How long it has had work in hand and completed nothing; 0 otherwise.",
        ),
        Metric(
            "dispatch_rebalances_total", "counter", "rebalances", _FUNCTION,
            "How often its partitions were taken away.",
        ),
        Metric(
            "dispatch_rebalance_dwell_seconds_total", "counter", "seconds", _FUNCTION,
            "Time in rebalances, from the partitions' going to the coming of the next; of one that lasts, so far.",
        ),
        Metric(
            "dispatch_event_loop_lag_seconds", "gauge", "seconds", (),
            "How late the event loop turned at the worst, in the last half to whole minute; grows while it is blocked.",
        ),
        Metric(
            "dispatch_functions_known", "gauge", "", (),
            "1, or 0 while the event loop is blocked, so that nothing can be told of the functions.",
        ),
        Metric(
            "dispatch_build_info", "gauge", "", ("app", "version", "python"),
            "1: what runs.",
        ),
    )
}  # fmt: skip
