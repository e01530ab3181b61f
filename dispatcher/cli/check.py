"""``dispatch check``: what would go wrong, before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dispatcher.cli.formats import Format, output_option, print_objects
from dispatcher.cli.options import (
    app_argument,
    app_name,
    app_option,
    broker_option,
    configuration,
    embedded_path,
    is_whole,
    only_option,
    open_broker,
    run_async,
    selected,
)
from dispatcher.cli.output import colours, talk
from dispatcher.telemetry.text import printable

if TYPE_CHECKING:
    from bindings.binding import Binding
    from dispatcher.cli.findings import Finding
    from dispatcher.config.functions import Function

__all__ = ["check"]

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@app_argument
@broker_option
@app_option
@only_option
@click.option("--offline", is_flag=True, help="Ask no broker: for CI.")
@output_option
def check(
    app: tuple[str, ...], broker: str, name: str | None, only: tuple[str, ...], offline: bool, output: Format
) -> None:
    """Check imports, signatures, filters, policies, the broker and its streams; say how to mend each finding.

    Exits 1 when there are errors; warnings alone are 0.
    """
    from dispatcher.cli.findings import of_bindings

    app_name(app, name)
    bindings, findings = _collect(app, only)
    findings += of_bindings(bindings)
    if not offline and bindings:
        findings += _of_broker(bindings, broker)
    findings.sort(key=lambda finding: finding.severity != "error")
    if output != "text":
        print_objects(output, [finding._asdict() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    functions = f"{len(bindings)} function{'s' * (len(bindings) != 1)}"
    talk(f"{functions}, {errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    raise SystemExit(1 if errors else 0)


def _collect(targets: tuple[str, ...], only: tuple[str, ...]) -> tuple[list[Binding], list[Finding]]:
    """Each target on its own, so that one that does not import hides nothing in the others."""
    from bindings.discovery import discover
    from bindings.errors import BindingError, NoFunctionsFound
    from dispatcher.cli.findings import Finding
    from dispatcher.config.functions import binds_alone, configured
    from dispatcher.errors import ConfigurationError

    settings = configuration()
    bindings: dict[int, Binding] = {}
    findings: list[Finding] = []
    alone = any(map(binds_alone, settings.functions.values()))
    for target in targets or (".",):
        try:
            bindings |= {id(binding): binding for binding in discover(target)}
        except NoFunctionsFound as error:
            if targets or not alone:
                findings.append(Finding("error", target, str(error), "mend what it names, and check again"))
        except BindingError as error:
            findings.append(Finding("error", target, str(error), "mend what it names, and check again"))
    found = [*bindings.values()]
    try:
        # What did not import is no reason to call its name wrong.
        functions = configured(found, settings, whole=is_whole(targets) and not findings)
        found = [function.binding for function in (functions if findings else selected(functions, only))]
        findings += _of_targets(functions)
    except ConfigurationError as error:
        findings.append(Finding("error", "configuration", str(error), "mend what it names, and check again"))
    return [binding for binding in found if not only or binding.name in only], findings


def _of_targets(functions: list[Function]) -> list[Finding]:
    from dispatcher.cli.findings import Finding
    from dispatcher.errors import ConfigurationError
    from dispatcher.invokers.making import make_invoker

    findings = []
    for function in functions:
        try:
            make_invoker(function.binding, function.target)  # nothing starts before its first event
        except ConfigurationError as error:
            findings.append(Finding("error", function.binding.name, str(error), "change its target"))
    return findings


def _of_broker(bindings: list[Binding], url: str) -> list[Finding]:
    from dispatcher.cli.findings import Finding, of_streams
    from dispatcher.errors import BrokerError

    path = embedded_path(url)
    if path is not None and not path.exists():
        # A check makes nothing: the log is made by the first send.
        return of_streams(bindings, set(), url)

    async def work() -> set[str]:
        async with open_broker(url) as opened:
            return {info.name for info in await opened.list_streams()}

    try:
        there = run_async(work())
    except BrokerError as error:
        return [
            Finding("error", url, str(error), "start the broker, or name another with --broker; --offline asks none")
        ]
    return of_streams(bindings, there, url)


def _print(finding: Finding) -> None:
    head = click.style(f"{finding.severity}:", fg=_COLOURS[finding.severity], bold=True)
    first, *rest = (printable(line) for line in finding.message.split("\n"))
    click.echo(f"{head} {printable(finding.where)}: {first}", color=colours())
    for line in rest:
        click.echo(f"    {line}")
    click.echo(f"    mend: {printable(finding.mend)}")
