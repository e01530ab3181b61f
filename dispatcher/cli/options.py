"""Options and arguments that several commands share, and what they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from dispatcher.config import DEFAULT_BROKER, broker_kind
from dispatcher.errors import ConfigurationError

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.brokers.base import Broker

__all__ = [
    "app_argument",
    "app_name",
    "app_option",
    "broker_option",
    "discovered",
    "embedded_path",
    "json_option",
    "only_option",
    "open_broker",
    "run_async",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

app_argument = click.argument("app", nargs=-1, metavar="[APP]...")
broker_option = click.option(
    "--broker",
    default=DEFAULT_BROKER,
    envvar="DISPATCH_BROKER",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="kafka://host:port,... or embedded:PATH.",
)
app_option = click.option("--app", "name", metavar="NAME", help="The app's name.  [default: the folder's name]")
only_option = click.option("--only", multiple=True, metavar="FN", help="Only this function. May be given again.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")


def discovered(targets: tuple[str, ...], only: tuple[str, ...] = ()) -> list[Binding]:
    """The bindings that the targets hold (those of this folder, when none is named), or of ``only`` these.

    Raises:
        BindingError: they can't be collected.
        click.UsageError: ``only`` names a function that is not there.
    """
    from bindings.discovery import discover

    found = discover(*(targets or (".",)))
    names = {binding.name for binding in found}
    if unknown := [name for name in only if name not in names]:
        raise click.UsageError(f"--only {unknown[0]}: there is no such function; there are: {', '.join(sorted(names))}")
    return [binding for binding in found if not only or binding.name in only]


def app_name(targets: tuple[str, ...], given: str | None) -> str:
    """The app's name: what was given, or the name of the folder in which the functions are.

    It is a part of each consumer group's name, so a file of a folder has the same app as the folder.

    Raises:
        click.UsageError: the folders differ, or the name can't be a part of a group's.
    """
    from bindings.policies import check_stream_name

    names = {given} if given is not None else {_folder_of(target) for target in targets or (".",)}
    if len(names) > 1:
        raise click.UsageError(
            f"these are in several folders ({', '.join(sorted(map(str, names)))}): name the app, --app NAME"
        )
    [name] = names
    try:
        return check_stream_name(name)
    except ValueError:
        raise click.UsageError(
            f"{name!r} can't be an app's name, which is letters, digits, dots, underscores and dashes: give --app NAME"
        ) from None


def _folder_of(target: str) -> str:
    place = target
    if ":" in target and not {"/", "\\"} & set(target.rpartition(":")[2]):
        place = target.rpartition(":")[0]
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

        return KafkaBroker(KafkaSettings.from_url(url, os.environ))
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
