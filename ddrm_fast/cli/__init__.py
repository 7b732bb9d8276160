"""Command line: `ddrm-fast <command> ...`; it parses, prints, and calls.

:mod:`.commands` holds what may be said to each command, a module each with ``add(commands)``; the module of
the same name here does it, and is imported then: help and completion need no PyTorch.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn, cast

from .. import __version__
from ..registry import load_plugins
from . import train, train_ddpm, train_diffir
from .commands import (
    bench,
    bound,
    compare,
    completion,
    degrade,
    download,
    evaluate,
    info,
    restore,
    sample,
    serve,
    tasks,
)
from .endings import Terminated, tidy_end, warnings_in_words
from .errors import FAILURES, one_line, speak_of

COMMANDS = (
    restore, tasks, serve, degrade, sample, evaluate, compare, bound, bench, info, download, train,
    train_ddpm, train_diffir, completion,
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, and what was perhaps meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.match(r"argument COMMAND: invalid choice: '(.*?)'", message)
        if wrong:
            names = [module.__name__.rpartition(".")[2].replace("_", "-") for module in COMMANDS]
            meant = _nearest(wrong[1], names)
            message = f"COMMAND: got {wrong[1]!r}, {meant}expected one of {', '.join(names)}"
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Ends with what is said of words that no argument takes."""
        said = "".join(_nearest(word, self._option_string_actions) for word in words[:1])
        self.error(
            f"unrecognized arguments: {' '.join(words)}{'; ' * bool(said)}{said.rstrip(' ,')}"
        )


def _nearest(word: str, names: Iterable[str]) -> str:
    """ "did you mean NAME?, ", or nothing."""
    close = difflib.get_close_matches(word, list(names), 1, 0.6)
    return f"did you mean {close[0]}? " if close else ""


def build_parser() -> _Parser:
    """The parser of the whole command line."""
    parser = _Parser(prog="ddrm-fast", description="Restoration of pictures with diffusion models.")
    parser.add_argument("--version", action="version", version=f"ddrm-fast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def command_of(parser: argparse.ArgumentParser, name: str) -> _Parser:
    """The parser of a command."""
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return cast("_Parser", commands.choices[name])


def arguments_of(command: argparse.ArgumentParser) -> list[str]:
    """Arguments of a command that have an option, by the names that they have in Python."""
    strings = command._option_string_actions
    return [s.removeprefix("--").replace("-", "_") for s in strings if s.startswith("--")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments:
            Words after the program's name; default: those of this process.

    Returns:
        Exit status: 0 for success, 1 for a failure that is explained on standard error,
        130 for Ctrl-C, 143 for SIGTERM, after what is being written is whole. (Arguments
        that do not parse end the process with status 2.)
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file, we say
    load_plugins()
    parser = build_parser()
    parsed, others = parser.parse_known_args(arguments)
    command = command_of(parser, parsed.command)
    if others:
        command.refuse(others)
    speak_of(arguments_of(command))
    parsed.line = shlex.join(["ddrm-fast", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with tidy_end(), warnings_in_words(parsed.command):
            return parsed.run(parsed)
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        print(f"ddrm-fast {parsed.command}: {one_line(error)}", file=sys.stderr)
        return 1
    except Terminated:
        print(f"ddrm-fast {parsed.command}: terminated", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"ddrm-fast {parsed.command}: interrupted", file=sys.stderr)
        return 130
