"""Write docs/cli.md from the commands themselves: what they say of themselves, their arguments and options."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dispatcher.cli import cli

# What a cell of a table can't hold as it is.
_PIPE = "\\|"

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """\
<!-- Made by scripts/docs from the commands: change their help in dispatcher/cli, and run it. -->

# Commands

stdout is data, stderr is talk: what you pipe on is never mixed with what is said to you. With `NO_COLOR` set nothing is
coloured. An error that was foreseen is one message that says what to do.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | it failed; for `dispatch run --until-caught-up` also: something became a dead letter |
| 2 | the command was not understood |
| 130, 143 | ended by Ctrl-C (SIGINT), by SIGTERM |

`APP` is a folder, a file, a module (`package.module`), or one of these with `:function` behind it; the folder that you
stand in when none is named. Every command takes `-h` and `--help`.
"""


def page() -> str:
    """The whole page."""
    cli.import_all()
    # Made as click makes it, so that it has the group's own settings: the names of the help option are kept with each command.
    root = cli.make_context("dispatch", [], resilient_parsing=True)
    commands = list(_commands(cli, root))
    overview = ["| command | what it does |", "| --- | --- |"]
    overview += [
        f"| [`{context.command_path}`](#{_anchor(context)}) | {_first_sentence(command)} |"
        for command, context in commands
        if not isinstance(command, click.Group)
    ]
    parts = [HEAD, "\n".join(overview) + "\n", "## dispatch\n", *_section(cli, root)]
    for command, context in commands:
        level = "##" if context.parent is root else "###"
        parts += [f"{level} {context.command_path} {{#{_anchor(context)}}}\n", *_section(command, context)]
    return "\n".join(parts)


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        child = click.Context(command, parent=context, info_name=name)
        yield command, child
        if isinstance(command, click.Group):
            yield from _commands(command, child)


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield f"{_help(command)}\n"
    options = [
        parameter
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and not parameter.hidden
        # Said once, for all of them.
        and ("--help" not in parameter.opts or context.parent is None)
    ]
    if not options:
        return
    rows = ["| option | what it says |", "| --- | --- |", *(_row(option, context) for option in options)]
    yield "\n".join(rows) + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    if not option.is_flag and not option.count:
        shown = "|".join(map(str, choices)) or (option.metavar or option.type.name.upper().removesuffix(" RANGE"))
        names += f" `{shown}`"
    words = [_text(option.help or "")]
    # A flag's False says nothing, and a default that is told in the help is not told twice.
    default = option.get_default(context, call=False) if option.show_default else None
    if isinstance(default, str | int | float | Path) and default is not False and "default:" not in (option.help or ""):
        words.append(f"Default: `{default}`.")
    if option.required:
        words.append("Required.")
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    if variables and "env var:" not in (option.help or ""):
        words.append(f"Environment: {', '.join(f'`{name}`' for name in variables)}.")
    return f"| {names.replace('|', _PIPE)} | {' '.join(word for word in words if word)} |"


def _help(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    out = []
    for paragraph in paragraphs:
        if paragraph.startswith("\b"):
            out.append("```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```")
        else:
            out.append(_text(paragraph.replace("\n", " ")))
    return "\n\n".join(out)


def _first_sentence(command: click.Command) -> str:
    return re.split(r"(?<=\.)\s", _help(command), maxsplit=1)[0]


def _text(words: str) -> str:
    """Help as Markdown: options as code, notes in brackets as sentences, and nothing read as markup."""
    words = re.sub(r"\s*\[env var: ([^;\]]+)(?:; (default: [^\]]*))?\]", r" Environment: `\1`. [\2]", words).replace(
        " []", ""
    )
    words = re.sub(r"\s*\[default: ([^\]]*)\]", r" Default: \1.", words)
    words = words.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("|", _PIPE)
    return re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)(?![\w`-])", r"`\1`", words)


def _anchor(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def main(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
