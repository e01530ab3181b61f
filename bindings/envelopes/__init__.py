"""Events as bytes on their way to an endpoint, and back: one module a form, each with its two directions.

============================  ================================================================================
:mod:`~.aws_kafka`            the event that AWS Lambda gets from an event source mapping for Kafka
:mod:`~.cloudevents`          CloudEvents 1.0 over HTTP: binary, structured, batched
:mod:`~.pubsub`               the push form of Google's Pub/Sub
:mod:`~.raw`                  the value as it is, its coordinates in headers
:mod:`~.reply`                what an invocation came to, from one of our hosts to our dispatcher
============================  ================================================================================

An encoder takes anything with the attributes of a record (:class:`bindings.calling.RecordLike`); a decoder makes
:class:`~bindings.envelopes.record.WireRecord`. Both are plain functions that do no I/O.
"""
