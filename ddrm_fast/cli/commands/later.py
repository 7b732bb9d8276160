"""What a command does, imported when it does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module


def later(module: str) -> Callable[[argparse.Namespace], int]:
    """The function ``run`` of a module of :mod:`ddrm_fast.cli`, which is imported when it is called."""

    def run(arguments: argparse.Namespace) -> int:
        return import_module(f"ddrm_fast.cli.{module}").run(arguments)

    return run
