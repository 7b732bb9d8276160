"""`ddrm-fast serve`: a page in the browser."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from .options import PRECISIONS, PRIORS, add_machine_options, add_prior_options

EXAMPLE = """\
examples:
  On this machine, for yourself; the browser opens:

    ddrm-fast serve --open

  For others in the house, who have to know a password:

    echo 'anna:correct horse battery' > people.txt
    ddrm-fast serve --listen 0.0.0.0 --login people.txt

what is kept:
  Nothing: pictures lie in a folder that goes when the server ends, those of a visitor when the tab is closed.
  Nothing is loaded from anywhere else, and nothing is sent there.
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "serve",
        help="a page in the browser: open a picture, say what is wrong, restore it",
        description="A page in the browser for restoring pictures (pip install 'ddrm-fast[web]').",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast serve [options]",
    )
    parser.add_argument("--port", default=7860, metavar="N", help="(7860; 0: one that is free)")
    parser.add_argument(
        "--listen", metavar="ADDRESS",
        help="for other machines too, such as 0.0.0.0 (127.0.0.1: this machine alone)",
    )  # fmt: skip
    parser.add_argument(
        "--login", metavar="FILE", help="a line NAME:PASSWORD for each who may come in (anybody)"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    parser.add_argument(
        "--megapixels", default=100, metavar="N", help="of a picture or result at most (100)"
    )
    parser.add_argument("--upload", default="512MiB", metavar="SIZE", help="of a file (512MiB)")
    parser.add_argument("--minutes", default=60, metavar="N", help="that a run may take (60)")
    parser.add_argument(
        "--memory", default="4GiB", metavar="SIZE",
        help="that a run may take; larger pictures go through the network in tiles (4GiB)",
    )  # fmt: skip
    parser.add_argument("--prior", default="default", metavar="PRIOR", help=PRIORS)
    add_prior_options(parser)
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of the network's arithmetic (auto)"
    )
    add_machine_options(parser)
    parser.set_defaults(run=lambda arguments: import_module("ddrm_fast.web.server").run(arguments))
