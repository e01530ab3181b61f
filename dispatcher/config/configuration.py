"""Configuration: all settings of one command, read once, and where each of them came from."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher.config.origin import FILE_NAME, PREFIX, Origin, find_file
from dispatcher.config.settings import Settings
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from dispatcher.config.kafka import KafkaOptions

__all__ = ["Configuration", "load"]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a command is set up with.

    Attributes:
        settings: of the process.
        file: from which file they were read, if there is one.
        profile: the one that was chosen.
        functions: by name, what is said of them; models of :data:`dispatcher.config.document.FunctionOptions`.
        flags: the settings that the command line gave.
        origins: of each value that is no default and no flag.
        kafka_options: the section ``[kafka]``; None when it was not read, since nothing says anything.
    """

    settings: Settings
    file: Path | None = None
    profile: str | None = None
    functions: Mapping[str, Any] = field(default_factory=dict)
    flags: Collection[str] = ()
    origins: Mapping[tuple[str, ...], Origin] = field(default_factory=dict)
    kafka_options: KafkaOptions | None = None

    @property
    def kafka(self) -> KafkaOptions:
        """The section ``[kafka]``."""
        from dispatcher.config.kafka import KafkaOptions

        return self.kafka_options or KafkaOptions()

    @property
    def root(self) -> Path:
        """Where module names begin: the folder of the file, else the working folder."""
        return self.file.resolve().parent if self.file is not None else Path.cwd()

    def origin(self, *keys: str) -> Origin:
        """Where a setting came from: ``origin("kafka", "rack")``."""
        if keys[0] in self.flags:
            return Origin("flag", f"--{keys[0]}")
        return self.origins.get(keys, Origin("default"))

    def with_flags(self, flags: Mapping[str, Any]) -> Configuration:
        """The same under these settings of the command line; raises ConfigurationError when one is wrong."""
        if not flags:
            return self
        return replace(self, settings=replace(self.settings, **flags), flags=flags.keys())

    def named(self, app: str) -> Settings:
        """The settings of the process, with the app's name."""
        return replace(self.settings, app=app)


def load(
    *,
    file: str | Path | None = None,
    profile: str | None = None,
    folder: Path | None = None,
) -> Configuration:
    """Read environment, file and defaults, in this order of precedence; flags come over them with ``with_flags``.

    Args:
        file: read instead of the one that is found; ``DISPATCH_CONFIG`` by default.
        profile: which ``[profiles.NAME]`` lies over the file; ``DISPATCH_PROFILE`` by default.
        folder: where the file is looked for, and above it; the working folder by default.

    Raises:
        ConfigurationError: with everything that is wrong: each with its file and line, or its variable, and the
            nearest right name; no value of a secret is in it.
    """
    file = file or os.environ.get("DISPATCH_CONFIG") or None
    profile = profile or os.environ.get("DISPATCH_PROFILE") or None
    path = Path(file).expanduser() if file else find_file(folder or Path.cwd())
    if path is None and profile is not None:
        raise ConfigurationError(f"there is no {FILE_NAME} for the profile {profile!r}: --config FILE names one")
    if path is None and not any(name.upper().startswith(PREFIX) and value for name, value in os.environ.items()):
        # 150 ms of imports that most commands do not need.
        return Configuration(settings=Settings())
    from dispatcher.config.reading import read

    document, origins = read(path, profile)
    given = {each.name: getattr(document, each.name) for each in fields(Settings)}
    given = {name: value for name, value in given.items() if name in document.model_fields_set}
    return Configuration(
        settings=Settings(**given),
        file=path,
        profile=profile,
        functions=document.functions,
        origins=origins,
        kafka_options=document.kafka,
    )
