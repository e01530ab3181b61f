"""``dispatch init``: a new project."""

from __future__ import annotations

from pathlib import Path

import click

from dispatcher.cli.output import talk

__all__ = ["init"]


@click.command()
@click.argument("name")
def init(name: str) -> None:
    """Make a new project in a folder of that name: a function, its tests, and what deploys it.

    NAME becomes the app's, and a part of images' and roles' names: 3 to 40 lower-case letters, digits and dashes. The folder must be new,
    or empty. The tests pass as they are, and an example event is there to be sent.
    """
    from dispatcher.scaffold import NAME, make_project

    if not NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r} can't be a project's name, which is 3 to 40 lower-case letters, digits and single dashes,"
            " and begins with a letter"
        )
    made = make_project(name, Path.cwd())
    talk(f"made {made.name}/: functions, tests, dispatch.toml, Dockerfile, terraform/, template.yaml")
    talk("")
    talk("next:")
    for line in (
        f"cd {made.name}",
        "python -m pytest                    # needs pytest",
        "dispatch send orders events/orders.jsonl --key customer",
        "dispatch run functions/ --until-caught-up",
        "dispatch streams tail orders.review",
    ):
        talk(f"  {line}")
