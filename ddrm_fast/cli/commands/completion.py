"""`ddrm-fast completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import argparse
import sys
from typing import Any

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
EXAMPLE = """\
examples:
  bash, for this user, from the next shell on:

    ddrm-fast completion bash > ~/.local/share/bash-completion/completions/ddrm-fast

  zsh, into a folder of $fpath, and fish:

    ddrm-fast completion zsh > ~/.zfunc/_ddrm-fast
    ddrm-fast completion fish > ~/.config/fish/completions/ddrm-fast.fish
"""
#: options whose value is a file, and those whose value is a folder
_FILES = ("--mask", "--kernel", "--gain", "--truth", "--prior", "--prior-config", "--classifier",
          "--classifier-config", "--network", "--start-from", "--json")  # fmt: skip
_FOLDERS = ("--sheets", "--pictures")


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "completion",
        help="completion for bash, zsh, fish, tcsh, powershell",
        description="Write what a shell needs to complete commands, options and their values "
        "(pip install 'ddrm-fast[completion]').",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script; returns the exit status."""
    from .. import build_parser

    sys.stdout.write(script(build_parser(), arguments.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a shell.

    Raises:
        ImportError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise ImportError(
            "completion scripts are written by shtab: pip install 'ddrm-fast[completion]'"
        ) from error
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            _describe(action, shtab.FILE, shtab.DIRECTORY)
    return shtab.complete(parser, shell)


def _describe(action: argparse.Action, file: dict[str, Any], folder: dict[str, Any]) -> None:
    """Says of an argument what completes it: its names, a file, a folder."""
    from ...registry import SAMPLERS, TASKS

    names = {
        "--task": list(TASKS),
        "--sampler": [name for name, sampler in SAMPLERS.items() if sampler.restores],
    }
    for option in action.option_strings or [f"<{action.dest}>"]:
        if option in names and action.choices is None:
            action.choices = names[option]
        elif option in _FILES or option in ("<inputs>", "<paths>", "<folders>", "<prior>"):
            vars(action)["complete"] = file
        elif option in _FOLDERS or (option == "--out" and action.metavar == "DIR"):
            vars(action)["complete"] = folder
