"""How a process shows Google's Managed Kafka who it is: an OAUTHBEARER token around Google's own access token.

The form is that of https://cloud.google.com/managed-service-for-apache-kafka/docs/authentication-kafka: a JSON Web Token
whose signature is the access token. In dispatch.toml: ``token = { call = "kafka_token:token" }``.
"""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC

import google.auth
import google.auth.transport.requests

_HEADER = {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def token() -> str:
    """A fresh token of the service account that this process runs as; good for an hour at the most."""
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())
    # google-auth's times are UTC and do not say so.
    expires = credentials.expiry.replace(tzinfo=UTC).timestamp()
    claims = {
        "iss": "Google",
        "sub": credentials.service_account_email,
        "scope": "kafka",
        "iat": int(time.time()),
        "exp": int(expires),
    }
    return ".".join(_part(each) for each in (json.dumps(_HEADER), json.dumps(claims), credentials.token))


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
