"""The AWS Lambda handler of the function that ``DISPATCH_FUNCTION`` names, so that its code needs no line for Lambda.

The function's ``Handler`` is ``bindings.hosts.lambda_function.lambda_handler``; ``DISPATCH_FUNCTION`` is ``module:function``
as in the manifest, from the root of the package. ``dispatch manifest --format sam`` writes both.
"""

from __future__ import annotations

import os
from typing import Any

from bindings.discovery import discover
from bindings.errors import TargetNotFound
from bindings.hosts.aws_lambda import handler

__all__ = ["lambda_handler"]


def _handler() -> Any:
    named = os.environ.get("DISPATCH_FUNCTION")
    if not named:
        raise TargetNotFound('set DISPATCH_FUNCTION to what this function is, such as "function:check_limit"')
    # Where Lambda unpacks the function; its working directory is the same place.
    [binding, *more] = discover(named, root=os.environ.get("LAMBDA_TASK_ROOT"))
    if more:
        raise TargetNotFound(f"DISPATCH_FUNCTION={named} names {1 + len(more)} functions: add :function to it")
    return handler(binding)


#: Made at import, in Lambda's init phase: what is wrong is told before the first event.
lambda_handler = _handler()
