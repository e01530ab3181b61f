"""The same decorated function inside another runtime: one module a runtime.

==================================  =============================================================================
:mod:`~.aws_lambda`                 ``handler(fn)``: a Lambda handler for Kafka events
:mod:`~.lambda_function`            the Lambda handler of the function that ``DISPATCH_FUNCTION`` names
:mod:`~.functions_framework`        ``http(fn)`` and ``cloud_event(fn)``: for Google's Functions Framework
:mod:`~.asgi`                       ``app(fn, ...)``: an ASGI application, for containers, Knative, Cloud Run, Azure
==================================  =============================================================================

The function is handed what the local target hands it, and what it says is understood as there. Policies that are the
dispatcher's (``where=``, ``order=`` between calls, ``retry=``, ``dead_letter=``) stay with the dispatcher: another
caller has its own.
"""
