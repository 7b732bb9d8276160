"""`ddrm-fast info`: what is installed and what can run here."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later

EXAMPLE = """\
example:
  ddrm-fast info
  ddrm-fast info --json | python -m json.tool
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "info",
        help="versions, backends, threads, priors",
        description="Say what is installed and what can run here.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=later("info"))
