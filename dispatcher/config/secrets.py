"""Secrets: never written into a configuration file, never on a command line, never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from dispatcher.errors import ConfigurationError

__all__ = ["MASK", "Secret", "SecretReference", "TokenReference", "reveal"]

MASK = "********"


class SecretReference(BaseModel):
    """Where a secret is. It is read when it is needed, so that lists and offline checks run without it.

    Args:
        file: its content is the secret, without the line end; as Kubernetes, Docker and systemd mount them.
        env: the name of an environment variable; its line end is no part of the secret either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    file: Path | None = None
    env: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            names = [f'{{ {name} = "..." }}' for name in type(self).model_fields]
            raise ValueError(f"a secret is at one place: write {' or '.join(names)}")
        return self

    def read(self) -> SecretStr:
        """The secret as it is now.

        Raises:
            ConfigurationError: it is not there, or empty.
        """
        if self.file is not None:
            try:
                value = self.file.expanduser().read_text().rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise ConfigurationError(f"can't read the secret in {self.file}: {why}") from None
            if not value:
                raise ConfigurationError(f"the secret in {self.file} is empty")
            return SecretStr(value)
        value = os.environ.get(self.env or "", "").rstrip("\r\n")
        if not value:
            raise ConfigurationError(
                f"the environment variable {self.env}, which is to hold a secret, is not set or is empty"
            )
        return SecretStr(value)

    def __str__(self) -> str:
        [(name, value)] = self.model_dump(exclude_none=True).items()
        return f'{{ {name} = "{value}" }}'


class TokenReference(SecretReference):
    """Where a token is; it is read again for each connection, since tokens expire.

    Args:
        call: ``"module:function"``, called with nothing; it returns the token, or is a coroutine function that does.
    """

    call: str | None = Field(default=None, pattern=r"^[^:]+:[^:]+$")


#: The environment holds the secret itself; a file says where it is.
Secret = SecretReference | SecretStr


def reveal(secret: Secret | None) -> SecretStr | None:
    """The secret itself; raises ConfigurationError when it is not where it should be."""
    return secret.read() if isinstance(secret, SecretReference) else secret
