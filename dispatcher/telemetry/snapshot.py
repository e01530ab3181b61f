"""What a process tells at one moment, as samples: the one list that every exporter writes out."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, get_args

from dispatcher.core.counters import Histogram
from dispatcher.core.retries import Reason
from dispatcher.telemetry.measures import Measures
from dispatcher.telemetry.metrics import State

__all__ = ["Sample", "Snapshot"]

_BREAKER: Final = ("closed", "open", "probing")
_ENDS: Final = ("done", "filtered", "dead_lettered", "dropped", "retry_topic")

#: A metric's name in the catalogue, the values of its labels, and the value.
Sample = tuple[str, tuple[str, ...], "float | Histogram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is told at one scrape. None is what could not be read.

    Attributes:
        app: the app's name.
        system: ``kafka`` or ``embedded``.
        functions: each; None while the event loop is blocked.
        depths: function -> its unresolved dead letters.
        stuck: function -> seconds without progress.
        loop_lag: seconds.
    """

    app: str
    system: str
    functions: Sequence[Measures] | None
    depths: Mapping[str, int | None]
    stuck: Mapping[str, float]
    loop_lag: float

    def samples(self) -> Iterator[Sample]:
        """Each sample; what is not known has none."""
        yield "dispatch_build_info", (self.app, version("dispatch-runtime"), platform.python_version()), 1
        yield "dispatch_event_loop_lag_seconds", (), self.loop_lag
        yield "dispatch_functions_known", (), self.functions is not None
        for name, seconds in self.stuck.items():
            yield "dispatch_no_progress_seconds", (self.app, name), seconds
        for name, depth in self.depths.items():
            if depth is not None:
                yield "dispatch_dead_letter_depth_events", (self.app, name), depth
        for each in self.functions or ():
            yield from self._of_function(each)

    def _of_function(self, each: Measures) -> Iterator[Sample]:
        counts = each.statistics
        labels = (self.app, counts.function)
        messaging = (*labels, self.system, counts.group)
        ended = sum(each.durations.counts)
        yield "messaging_client_consumed_messages_total", (*messaging, "poll"), counts.consumed
        sent = {"result": counts.emitted, "dead_letter": counts.dead_lettered, "retry": counts.retry_topic}
        for kind, count in sent.items():
            yield "messaging_client_sent_messages_total", (*messaging, "send", kind), count
        yield "messaging_process_duration_seconds", (*messaging, "process"), each.durations
        yield "faas_invocations_total", (*labels, "pubsub"), ended - each.errors - each.refused
        yield "faas_errors_total", (*labels, "pubsub"), each.errors
        yield "faas_timeouts_total", (*labels, "pubsub"), each.timeouts
        for outcome in _ENDS:
            yield "dispatch_processed_events_total", (*labels, outcome), getattr(counts, outcome)
        for reason in Reason:
            # Those of which there is none yet too: the first of a series that was not there is no increase to Prometheus.
            yield "dispatch_dead_letters_total", (*labels, reason), each.reasons.get(reason, 0)
        if each.batch_sizes is not None:
            yield "dispatch_batch_size_events", labels, each.batch_sizes
        for state in get_args(State):
            yield "dispatch_worker_state", (*labels, state), state == counts.state
        for breaker in _BREAKER:
            yield "dispatch_breaker_state", (*labels, breaker), breaker == each.breaker
        plain = {
            "dispatch_retries_total": counts.retried,
            "dispatch_not_delivered_events_total": counts.not_delivered,
            "dispatch_not_delivered_invocations_total": each.refused,
            "dispatch_late_results_total": counts.late,
            "dispatch_skipped_events_total": counts.skipped,
            "dispatch_commits_total": each.commits,
            "dispatch_in_flight_invocations": counts.in_flight,
            "dispatch_concurrency_limit_invocations": each.limit,
            "dispatch_concurrency_maximum_invocations": each.maximum,
            "dispatch_waiting_events": counts.waiting,
            "dispatch_parked_events": counts.parked,
            "dispatch_held_bytes": each.held_bytes,
            "dispatch_partitions": counts.partitions,
            "dispatch_paused": each.paused,
            "dispatch_rebalances_total": each.rebalances,
            "dispatch_rebalance_dwell_seconds_total": each.rebalance_seconds,
        }
        for name, value in plain.items():
            yield name, labels, value
        yield from self._of_partitions(each, labels)

    @staticmethod
    def _of_partitions(each: Measures, labels: tuple[str, str]) -> Iterator[Sample]:
        known = each.statistics.backlog is not None
        for one in each.partitions:
            where = (*labels, one.stream, str(one.number))
            yield "dispatch_offset_map_use_ratio", where, one.map_use
            lags = {
                "dispatch_lag_events": one.lag,
                "dispatch_backlog_events": one.backlog,
                "dispatch_lag_seconds": one.lag_seconds,
            }
            for name, value in lags.items():
                known = known and value is not None
                if value is not None:
                    yield name, where, value
        yield "dispatch_lag_known", labels, known
        # With a partition unknown, what is in memory may still be told; that nothing is there says nothing of the log.
        ages = [one.lag_seconds or 0.0 for one in each.partitions]
        oldest = max(ages, default=0.0) if known else each.oldest_age
        if oldest is not None:
            yield "dispatch_oldest_incomplete_age_seconds", labels, oldest
