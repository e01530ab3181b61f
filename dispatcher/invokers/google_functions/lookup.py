"""Where a Cloud Run function is."""

from __future__ import annotations

import asyncio

from dispatcher.config.targets import GoogleFunctionTarget
from dispatcher.errors import ConfigurationError

__all__ = ["find_url"]

_TIMEOUT = 20.0


async def find_url(target: GoogleFunctionTarget) -> str:
    """Ask the Cloud Functions API (v2) for the URI of a function's service.

    Raises:
        ConfigurationError: there is no such function, or this process may not see it.
    """
    # In a thread, and not before it is needed: the client takes 1.8 s to import.
    return await asyncio.to_thread(_find, target)


def _find(target: GoogleFunctionTarget) -> str:
    from google.api_core.client_options import ClientOptions
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.functions_v2 import FunctionServiceClient

    name = f"projects/{target.project}/locations/{target.location}/functions/{target.function}"
    try:
        # An endpoint over plain HTTP is an emulator's: no credentials are sent there.
        is_plain = (target.api_endpoint or "").startswith("http://")
        with FunctionServiceClient(
            transport="rest",
            credentials=AnonymousCredentials() if is_plain else None,
            client_options=ClientOptions(api_endpoint=target.api_endpoint) if target.api_endpoint else None,
        ) as client:
            found = client.get_function(name=name, timeout=_TIMEOUT)
    except GoogleAuthError as error:
        raise ConfigurationError(f"can't look up {name}: {str(error)[:300]}") from None
    except GoogleAPIError as error:
        raise ConfigurationError(
            f"can't look up {name}: {str(error)[:300]}. It takes the permission cloudfunctions.functions.get; with url ="
            ' "https://..." in the target nothing is looked up'
        ) from None
    url = found.service_config.uri or found.url
    if not url:
        raise ConfigurationError(f"{name} has no address: its state is {found.state.name}")
    return url
