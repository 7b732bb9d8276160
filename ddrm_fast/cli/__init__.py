"""Command line: `ddrm-fast <command> ...`, one module per command.

A command module has `add(commands)`, which adds its parser to the sub-parsers and sets `run`, a
function of the parsed arguments that returns an exit status.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..registry import load_plugins
from . import (
    bench,
    bound,
    degrade,
    evaluate,
    info,
    restore,
    sample,
    train,
    train_ddpm,
    train_diffir,
)
from .endings import Terminated, tidy_end, warnings_in_words
from .errors import FAILURES, one_line, speak_of

COMMANDS = (restore, degrade, sample, evaluate, bound, bench, info, train, train_ddpm, train_diffir)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="ddrm-fast", description="Restoration of pictures with diffusion models.")
    parser.add_argument("--version", action="version", version=f"ddrm-fast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def options_of(parser: argparse.ArgumentParser, command: str) -> list[str]:
    """Arguments of a command that have an option, by the names that they have in Python."""
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    strings = commands.choices[command]._option_string_actions
    return [s.removeprefix("--").replace("-", "_") for s in strings if s.startswith("--")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; default: those of this process.

    Returns:
        Exit status: 0 for success, 1 for a failure that is explained on standard error,
        130 for Ctrl-C, 143 for SIGTERM, after what is being written is whole. (Arguments
        that do not parse end the process with status 2.)
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file, we say
    load_plugins()
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    speak_of(options_of(parser, parsed.command))
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
