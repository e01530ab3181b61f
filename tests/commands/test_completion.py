"""``dispatch completion``."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_this_command(dispatch: Any, shell: str) -> None:
    """Each script calls dispatch with the variable that its completion listens to."""
    done = dispatch("completion", shell)
    assert done.code == 0
    assert "_DISPATCH_COMPLETE" in done.stdout
    assert f"{shell}_complete" in done.stdout


def test_a_word_that_was_begun_is_completed(dispatch: Any) -> None:
    """What the script asks for is answered: commands, and the options of one."""
    words = dispatch(_DISPATCH_COMPLETE="bash_complete", COMP_WORDS="dispatch comp", COMP_CWORD="1")
    assert words.stdout.split() == ["plain,completion"]
    options = dispatch(_DISPATCH_COMPLETE="bash_complete", COMP_WORDS="dispatch invoke --at", COMP_CWORD="2")
    assert options.stdout.split() == ["plain,--attempt"]


def test_another_shell_is_refused(dispatch: Any) -> None:
    """The error names those that there are."""
    done = dispatch("completion", "tcsh")
    assert done.code == 2
    assert "'bash', 'zsh', 'fish'" in " ".join(done.stderr.replace("│", " ").split())
