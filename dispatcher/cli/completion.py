"""``dispatch completion``: what a shell needs to complete the commands."""

from __future__ import annotations

import click

from dispatcher.cli.output import talk

__all__ = ["completion"]

_INSTALL = {
    "bash": 'eval "$(dispatch completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(dispatch completion zsh)" in ~/.zshrc',
    "fish": "dispatch completion fish > ~/.config/fish/completions/dispatch.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    \b
    bash: eval "$(dispatch completion bash)" in ~/.bashrc
    zsh:  eval "$(dispatch completion zsh)" in ~/.zshrc
    fish: dispatch completion fish > ~/.config/fish/completions/dispatch.fish
    """  # noqa: D301 - click takes the backspace itself for "do not wrap"
    import sys

    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "dispatch", "_DISPATCH_COMPLETE").source())
    if sys.stdout.isatty():
        talk(f"to have it in each shell: {_INSTALL[shell]}")
