"""ID tokens of the service account that this process runs as, for Cloud Run and Cloud Run functions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.errors import ConfigurationError

__all__ = ["IdTokens"]

# Before its end: a token has an hour, and a renewal that fails is tried again with the old one still good.
_RENEW = timedelta(minutes=5)


class IdTokens:
    """Tokens for one audience, renewed before they end.

    From the key file in ``GOOGLE_APPLICATION_CREDENTIALS``, else from the metadata server of the machine, as google-auth's
    ``fetch_id_token_credentials`` finds them. A person's own login (``gcloud auth application-default``) can't make any.

    Args:
        audience: the receiving service's URL.
    """

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._credentials: Any = None
        self._renewing = asyncio.Lock()

    async def __call__(self) -> str:
        """A token that is good now.

        Raises:
            ConfigurationError: there is none to be had.
        """
        if not self._is_fresh():
            async with self._renewing:
                if not self._is_fresh():
                    # In a thread: google-auth is 0.4 s of imports, and asks over HTTP.
                    await asyncio.to_thread(self._renew)
        token: str = self._credentials.token
        return token

    def _left(self) -> timedelta:
        if self._credentials is None or not self._credentials.token or self._credentials.expiry is None:
            return timedelta(0)
        # google-auth's times are UTC, and do not say so.
        left: timedelta = self._credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
        return left

    def _is_fresh(self) -> bool:
        return self._left() > _RENEW

    def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
        from google.oauth2.id_token import fetch_id_token_credentials

        try:
            request = Request()
            if self._credentials is None:
                self._credentials = fetch_id_token_credentials(self._audience, request=request)
            self._credentials.refresh(request)
        except GoogleAuthError as error:
            if self._left() > timedelta(0):
                return
            raise ConfigurationError(
                f"no Google ID token for {self._audience}: {str(error)[:300]}. Run with a service account: on Google Cloud"
                " attach one, elsewhere name its key file in GOOGLE_APPLICATION_CREDENTIALS"
            ) from None
