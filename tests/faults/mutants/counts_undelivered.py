"""What a target did not take counts as an attempt, as it does where an engine knows but one kind of failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bindings.failure import Failure, FailureKind
from dispatcher.core import judging


def apply() -> None:
    """Judge each failure as the function's own."""
    judge = judging.judge

    def judged(policy: Any, delivery: Any, failure: Failure, **options: Any) -> Any:
        if failure.kind is FailureKind.NOT_DELIVERED:
            failure = replace(failure, kind=FailureKind.FUNCTION)
        return judge(policy, delivery, failure, **options)

    judging.judge = judged  # type: ignore[attr-defined]
