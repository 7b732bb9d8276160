"""`ddrm-fast download`: published checkpoints into one folder."""

from __future__ import annotations

import argparse

from ..priors.download import PUBLISHED, download, downloaded, home


def run(arguments: argparse.Namespace) -> int:
    """Download; returns the exit status."""
    if not arguments.names:
        print(f"in {home()}:\n")
        for name, published in PUBLISHED.items():
            state = "here" if downloaded(name) else "-"
            print(f"  {name:28}{state:6}{published.what}")
        print("\n`ddrm-fast download NAME` fetches one, `--prior NAME` takes it")
        return 0
    for name in arguments.names:
        if name not in PUBLISHED:
            raise ValueError(f"NAME: got {name!r}, expected some of {', '.join(PUBLISHED)}")
    for name in arguments.names:
        was_here = downloaded(name) is not None
        path = download(name, progress=False if arguments.quiet else None)
        print(f"{path}{'  (was here already)' * was_here}")
    return 0
