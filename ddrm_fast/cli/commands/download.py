"""`ddrm-fast download`: published checkpoints into one folder."""

from __future__ import annotations

import argparse
from typing import Any

from .later import later

EXAMPLE = """\
examples:
  What there is, and what is here already:

    ddrm-fast download

  Faces; then restore one:

    ddrm-fast download celeba_hq.ckpt
    ddrm-fast restore face.png --task inpaint --mask mask.png --prior celeba_hq.ckpt --samples 4

  An interrupted download goes on where it was. Files lie in DDRM_FAST_HOME (~/.cache/ddrm_fast);
  DDRM_FAST_MIRROR names a folder on the web that holds copies. Nothing else of this program downloads
  anything unless it is asked to with --download.
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "download",
        help="published checkpoints by name, into one folder",
        description="Fetch published checkpoints from where they are published; without a name, list them.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast download [NAME ...] [options]",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the list")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=later("download"))
