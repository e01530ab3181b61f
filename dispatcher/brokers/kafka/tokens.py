"""Tokens for SASL/OAUTHBEARER (RFC 7628): from a file, the environment, a function, or signed for AWS MSK."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from pydantic import SecretStr

from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.config.secrets import TokenReference
from dispatcher.errors import AuthenticationFailed, ConfigurationError, DispatchError

__all__ = ["provider_of"]

#: What a client says to a challenge, so that the broker ends the conversation with its error (RFC 7628, 3.2.3).
_TO_THE_CHALLENGE = b"\x01"


class _Authenticator(OAuthAuthenticator):
    """aiokafka's, which takes the broker's challenge to a refused token for a welcome.

    The connection would then live on as if let in: what it is asked next is read by the broker as the rest of the login,
    and the end of the login by the client as the answer. So a commit could seem made.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            return _TO_THE_CHALLENGE, True
        sent: tuple[bytes, bool] | None = await super().step(payload)  # type: ignore[no-untyped-call]
        return sent


def _authenticator(connection: Any) -> _Authenticator:
    provider = connection._sasl_oauth_token_provider  # noqa: SLF001 - it has no public name
    return _Authenticator(sasl_oauth_token_provider=provider)  # type: ignore[no-untyped-call]


# Connections are made deep in aiokafka, and there is no other place to say which authenticator they take.
AIOKafkaConnection.authenticator_oauth = _authenticator  # type: ignore[method-assign]


class _Tokens(AbstractTokenProvider):
    """Asks for a token at each connection: brokers hang up on a session whose token has expired (KIP-368)."""

    def __init__(self, source: Callable[[], object | Awaitable[object]], what: str) -> None:
        self._source = source
        self._what = what

    async def token(self) -> str:
        """The token of this moment."""
        try:
            # In a thread: files are read, modules imported, and AWS or whomever is asked.
            made = await asyncio.to_thread(self._source)
            token = await made if inspect.isawaitable(made) else made
        except DispatchError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            # Not its text: what failed with a token in hand may tell it.
            raise AuthenticationFailed(f"no token from {self._what}: {type(error).__name__}") from None
        if not isinstance(token, str) or not token:
            raise AuthenticationFailed(f"no token from {self._what}: it gave {type(token).__name__}, or an empty one")
        return token


def provider_of(settings: KafkaSettings) -> AbstractTokenProvider:
    """What aiokafka asks for tokens; it raises ConfigurationError when there is no such function, or no signer."""
    if settings.sasl_mechanism == "AWS_MSK_IAM":
        return _Tokens(lambda: _signed(settings), "AWS: check its credentials and aws_region")
    token = settings.token
    if isinstance(token, TokenReference):
        reference = token
        return _Tokens(lambda: _found(reference), str(reference))
    secret = token or SecretStr("")
    return _Tokens(secret.get_secret_value, "the environment")


def _found(reference: TokenReference) -> Any:
    if reference.call is None:
        return reference.read().get_secret_value()
    module, _, attribute = reference.call.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ConfigurationError(f"kafka.token: can't import {module}: {error}") from None
    if not callable(function):
        raise ConfigurationError(f"kafka.token: {module} has no function {attribute}")
    return function()


def _signed(settings: KafkaSettings) -> str:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider as signer  # noqa: N813 - it is a module
    except ImportError:
        raise ConfigurationError(
            "AWS_MSK_IAM needs AWS's signer: install dispatch-runtime[msk], or aws-msk-iam-sasl-signer-python"
        ) from None
    region = settings.aws_region or _region(settings.aws_profile)
    if settings.aws_profile:
        token, _ = signer.generate_auth_token_from_profile(region, settings.aws_profile)
    elif settings.aws_role_arn:
        token, _ = signer.generate_auth_token_from_role_arn(region, settings.aws_role_arn)
    else:
        token, _ = signer.generate_auth_token(region)
    return str(token)


def _region(profile: str | None) -> str:
    import boto3

    if not (region := boto3.Session(profile_name=profile).region_name):
        raise ConfigurationError("AWS_MSK_IAM needs a region: set aws_region in [kafka], or AWS_REGION")
    return str(region)
