"""`ddrm-fast info`: what is installed and what can run here."""

from __future__ import annotations

import argparse
import json

from ..bench.facts import gather


def run(arguments: argparse.Namespace) -> int:
    """Print; returns the exit status."""
    facts = gather()
    if arguments.json:
        print(json.dumps(facts, indent=1))
        return 0
    for name, value in facts.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, words in value.items():
                print(f"  {key:16}{words}")
        else:
            print(f"{name:18}{value}")
    return 0
