"""From a binding and its target to what calls it."""

from __future__ import annotations

import sys
from pathlib import Path

from bindings.binding import Binding
from dispatcher.config.targets import (
    AwsLambdaTarget,
    AwsSigV4,
    GoogleFunctionTarget,
    GoogleIdToken,
    HttpTarget,
    ProcessTarget,
    Target,
)
from dispatcher.errors import ConfigurationError
from dispatcher.invokers.base import Invoker

__all__ = ["make_invoker"]


def make_invoker(binding: Binding, target: Target | None = None) -> Invoker | None:
    """What calls a binding at its target; None for this process, where the worker makes its own.

    Args:
        binding: the function and its policies.
        target: where it runs.

    Raises:
        ConfigurationError: the function can't run there, or not under these limits; or what the target needs is not
            installed.
    """
    if isinstance(target, ProcessTarget):
        from dispatcher.invokers.process import ProcessInvoker, ProcessLimits

        given = target.model_dump(exclude={"type"}, exclude_unset=True)
        return ProcessInvoker(binding, root=_root_of(binding), limits=ProcessLimits(**given))
    if isinstance(target, HttpTarget):
        return _http(binding, target)
    if isinstance(target, AwsLambdaTarget):
        return _aws_lambda(binding, target)
    if isinstance(target, GoogleFunctionTarget):
        return _google_function(binding, target)
    return None


def _http(binding: Binding, target: HttpTarget) -> Invoker:
    try:
        from dispatcher.invokers.http.invoker import HttpInvoker
    except ModuleNotFoundError as error:
        raise _missing(binding, "http", error) from None
    signer = None
    if isinstance(target.auth, AwsSigV4):
        from dispatcher.invokers.aws_lambda.signing import CredentialsChain, SigV4

        signer = SigV4(target.auth.region, target.auth.service, CredentialsChain(target.auth.profile))
    tokens = None
    if isinstance(target.auth, GoogleIdToken):
        from dispatcher.invokers.google_functions.tokens import IdTokens

        tokens = IdTokens(target.auth.audience or "/".join(target.url.split("/", 3)[:3]))
    return HttpInvoker(binding, target, signer=signer, tokens=tokens)


def _aws_lambda(binding: Binding, target: AwsLambdaTarget) -> Invoker:
    try:
        import botocore.session  # noqa: F401 - needed at the first invocation, and missed at the start

        from dispatcher.invokers.aws_lambda.invoker import LambdaInvoker
    except ModuleNotFoundError as error:
        raise _missing(binding, "aws", error) from None
    return LambdaInvoker(binding, target)


def _google_function(binding: Binding, target: GoogleFunctionTarget) -> Invoker:
    try:
        import google.auth  # noqa: F401 - as above; the rest of google takes seconds to import

        from dispatcher.invokers.google_functions.invoker import GoogleFunctionInvoker
    except ModuleNotFoundError as error:
        raise _missing(binding, "google", error) from None
    return GoogleFunctionInvoker(binding, target)


def _missing(binding: Binding, extra: str, error: ModuleNotFoundError) -> ConfigurationError:
    if (error.name or "").partition(".")[0] in ("bindings", "dispatcher"):
        raise error
    return ConfigurationError(f"{binding.name}: its target needs {error.name}: pip install 'dispatch-runtime[{extra}]'")


def _root_of(binding: Binding) -> Path | None:
    """The folder at which the name of the function's module begins: a new process imports it from there."""
    name = binding.function.__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    return path.parents[name.count(".") + (path.name == "__init__.py")]
