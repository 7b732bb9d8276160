"""One input after another: a failure is said and counted, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tqdm import tqdm

from ..io import OutputError
from .errors import FAILURES, one_line
from .inputs import Input


def work_through(
    command: str, inputs: Sequence[Input], work: Callable[[Input], str], quiet: bool
) -> int:
    """Do the work of a command on each input.

    Args:
        command: Its name, for messages.
        inputs: What to work on; a progress bar where there are several.
        work: Works on one input; returns a line to print.
        quiet: Print failures only.

    Returns:
        Exit status: 1 where an input failed.

    Raises:
        OutputError: A result cannot be written: the same would happen to all that follow.
    """
    many, failed = len(inputs) > 1, 0
    for item in tqdm(inputs, unit="picture", disable=True if quiet or not many else None):
        try:
            line = work(item)
        except OutputError:
            raise
        except FAILURES as error:
            failed += 1
            tqdm.write(f"ddrm-fast {command}: {one_line(error, item.path)}", file=sys.stderr)
            continue
        if not quiet:
            tqdm.write(line, file=sys.stdout)
    if failed and many:
        print(f"ddrm-fast {command}: {failed} of {len(inputs)} inputs failed", file=sys.stderr)
    return 1 if failed else 0
