"""Options and arguments that several commands share, and what they stand for.

A command reads its settings by what is here, so that flags, environment and ``dispatch.toml`` mean the same everywhere:

- ``@broker_option``, ``@app_option`` and ``@config_options`` bring ``--config`` and ``--profile`` along. ``broker`` is what was
  settled on, whether it came from the flag or not.
- ``discovered()`` gives bindings with what the configuration says in them, and functions that it alone binds;
  ``functions()`` gives these with their targets and where each policy came from.
- ``open_broker()`` reaches Kafka as ``[kafka]`` says; ``app_name()`` knows ``app``.
- ``configuration()`` has the rest: ``configuration().settings`` of the process, ``.origin("kafka", "rack")``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dispatcher.config import broker_kind
from dispatcher.config.configuration import Configuration, load
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.brokers.base import Broker
    from dispatcher.config.functions import Function

__all__ = [
    "app_argument",
    "app_name",
    "app_option",
    "broker_option",
    "config_options",
    "configuration",
    "discovered",
    "embedded_path",
    "functions",
    "is_whole",
    "only_option",
    "open_broker",
    "run_async",
    "same_app",
    "selected",
    "together",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_META = "dispatcher.configuration."

app_argument = click.argument("app", nargs=-1, metavar="[APP]...")
only_option = click.option("--only", multiple=True, metavar="FN", help="Only this function. May be given again.")


def together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator of several options and arguments, which the help shows in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _noted(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    ctx.meta[f"{_META}{param.name}"] = value
    return value


def config_options(command: F) -> F:
    """``--config`` and ``--profile``; a command that has them already keeps them."""
    if any(param.name == "profile" for param in getattr(command, "__click_params__", ())):
        return command
    options = (
        click.option(
            "--profile",
            expose_value=False,
            is_eager=True,
            callback=_noted,
            metavar="NAME",
            help="Settings of [profiles.NAME] over the others.  [env var: DISPATCH_PROFILE]",
        ),
        click.option(
            "--config",
            expose_value=False,
            is_eager=True,
            callback=_noted,
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Read the settings from it.  [env var: DISPATCH_CONFIG; default: the nearest dispatch.toml]",
        ),
    )
    for option in options:
        command = option(command)
    return command


def configuration() -> Configuration:
    """The settings of the command that runs: flags, environment, file, defaults.

    Raises:
        ConfigurationError: with all that is wrong in them.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return load()
    read: Configuration | None = ctx.meta.get(f"{_META}read")
    if read is None:
        read = load(file=ctx.meta.get(f"{_META}config"), profile=ctx.meta.get(f"{_META}profile"))
        ctx.meta[f"{_META}read"] = read
    return read.with_flags(ctx.meta.get(f"{_META}flags", {}))


def _flag(ctx: click.Context, setting: str, value: str | None) -> None:
    if value is not None:
        ctx.meta.setdefault(f"{_META}flags", {})[setting] = value


def _broker(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    _flag(ctx, "broker", value)
    return value if ctx.resilient_parsing else configuration().settings.broker


def _app(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        _checked_app(value)
    _flag(ctx, "app", value)
    return value


def broker_option(command: F) -> F:
    """``--broker``; the command is handed what was settled on."""
    option = click.option(
        "--broker",
        callback=_broker,
        metavar="URL",
        help="kafka://host:port,... or embedded:PATH.  [env var: DISPATCH_BROKER; default: embedded:.dispatch/log.db]",
    )
    return option(config_options(command))


def app_option(command: F) -> F:
    """``--app``; the command is handed what was given, for :func:`app_name`."""
    option = click.option(
        "--app",
        "name",
        callback=_app,
        metavar="NAME",
        help="The app's name.  [env var: DISPATCH_APP; default: the folder's name]",
    )
    return option(config_options(command))


def functions(targets: tuple[str, ...], only: tuple[str, ...] = ()) -> list[Function]:
    """The functions that the targets hold (those of this folder, when none is named), or of ``only`` these.

    Folders and modules are taken for the whole app: then the functions that the configuration alone binds are there too, and
    what it says of no function is an error.

    Raises:
        BindingError: they can't be collected.
        ConfigurationError: what the configuration says of them can't be done.
        click.UsageError: ``only`` names a function that is not there.
    """
    from bindings.discovery import discover
    from bindings.errors import NoFunctionsFound
    from dispatcher.config.functions import binds_alone, configured

    settings = configuration()
    try:
        found = discover(*(targets or (".",)))
    except NoFunctionsFound:
        if targets or not any(map(binds_alone, settings.functions.values())):
            raise
        found = []
    return selected(configured(found, settings, whole=is_whole(targets)), only)


def selected(found: list[Function], only: tuple[str, ...]) -> list[Function]:
    """Those that ``--only`` names; all, when it names none. Raises click.UsageError for one that is not there."""
    names = {function.binding.name for function in found}
    if unknown := [name for name in only if name not in names]:
        raise click.UsageError(f"--only {unknown[0]}: there is no such function; there are: {', '.join(sorted(names))}")
    return [function for function in found if not only or function.binding.name in only]


def is_whole(targets: tuple[str, ...]) -> bool:
    """Whether these are all that the app has, rather than a file or a function of it."""
    return not any(_split(target)[1] or _split(target)[0].endswith(".py") for target in targets)


def discovered(targets: tuple[str, ...], only: tuple[str, ...] = ()) -> list[Binding]:
    """The bindings of :func:`functions`, which says what is raised."""
    return [function.binding for function in functions(targets, only)]


def app_name(targets: tuple[str, ...], given: str | None) -> str:
    """The app's name: what was given or set, or the name of the folder in which the functions are.

    It is a part of each consumer group's name, so a file of a folder has the same app as the folder.

    Raises:
        click.UsageError: the folders differ, or the name can't be a part of a group's.
    """
    if given is None and configuration().origin("app").kind != "default":
        return configuration().settings.app
    names = {given} if given is not None else {_folder_of(target) for target in targets or (".",)}
    if len(names) > 1:
        raise click.UsageError(
            f"these are in several folders ({', '.join(sorted(map(str, names)))}): name the app, --app NAME"
        )
    return _checked_app(names.pop())


def same_app(app: tuple[str, ...], name: str | None) -> tuple[str, ...]:
    """The words by which another command means the same app and the same settings; ``name`` is what ``--app`` was given."""
    ctx = click.get_current_context(silent=True)
    given = {"app": name} | {key: ctx.meta.get(f"{_META}{key}") if ctx else None for key in ("config", "profile")}
    return (*app, *(word for key, value in given.items() if value is not None for word in (f"--{key}", str(value))))


def _checked_app(name: str) -> str:
    from bindings.policies import check_stream_name

    try:
        return check_stream_name(name)
    except ValueError:
        raise click.UsageError(
            f"{name!r} can't be an app's name, which is letters, digits, dots, underscores and dashes: give --app NAME"
        ) from None


def _split(target: str) -> tuple[str, str]:
    """The place that a target names, and the function in it."""
    if ":" in target and not {"/", "\\"} & set(target.rpartition(":")[2]):
        place, _, function = target.rpartition(":")
        return place, function
    return target, ""


def _folder_of(target: str) -> str:
    place, _ = _split(target)
    path = Path(place)
    if path.exists():
        return (path if path.is_dir() else path.parent).resolve().name
    package = place.partition(".")[0]
    return package if Path(package).is_dir() else Path.cwd().name


def embedded_path(url: str) -> Path | None:
    """The file of an embedded broker; None when the URL is of another kind."""
    return Path(url.partition(":")[2]).expanduser() if broker_kind(url) == "embedded" else None


def open_broker(url: str, *, must_exist: bool = False) -> Broker:
    """Make the broker that a URL names; it connects when it is entered.

    Args:
        url: ``kafka://...`` or ``embedded:...``.
        must_exist: an embedded log that is not there is an error, rather than made.

    Raises:
        ConfigurationError: the URL is none, or there is no such log.
    """
    path = embedded_path(url)
    if path is None:
        from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings

        return KafkaBroker(KafkaSettings.from_url(url, configuration().kafka))
    if must_exist and not path.exists():
        raise ConfigurationError(f"there is no log at {path} yet: `dispatch send STREAM FILE` makes one")
    from dispatcher.brokers.embedded import EmbeddedBroker

    return EmbeddedBroker(path)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end; of what is logged, only warnings are told, unless it is set up otherwise."""
    # 40 ms that `dispatch --help` does not need.
    import asyncio

    from dispatcher.telemetry.logs import warnings_only

    warnings_only()

    return asyncio.run(work)
