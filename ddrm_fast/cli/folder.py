"""One input after another: a failure is said and counted, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

from ..io import OutputError
from ..streams import overlapped
from .errors import FAILURES, one_line
from .inputs import Input

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


def work_through(
    command: str,
    inputs: Sequence[Input],
    load: Callable[[Input], Loaded],
    work: Callable[[Loaded], Result],
    save: Callable[[Result], str],
    quiet: bool,
) -> int:
    """Do the work of a command on each input; reading and writing overlap with it.

    Args:
        command: Its name, for messages.
        inputs: What to work on; a progress bar where there are several.
        load: Reads an input, in a thread.
        work: Works on what was read.
        save: Writes the results, in a thread; returns a line to print.
        quiet: Print failures only.

    Returns:
        Exit status: 1 where an input failed.

    Raises:
        OutputError: A result cannot be written: the same would happen to all that follow.
    """
    many, failed = len(inputs) > 1, []
    with tqdm(
        total=len(inputs), unit="picture", disable=True if quiet or not many else None
    ) as bar:

        def finish(item: Input, result: Callable[[], Result]) -> None:
            try:
                line = save(result())
            except OutputError:
                raise
            except FAILURES as error:
                failed.append(item)
                tqdm.write(f"ddrm-fast {command}: {one_line(error, item.path)}", file=sys.stderr)
            else:
                if not quiet:
                    tqdm.write(line, file=sys.stdout)
            bar.update()

        overlapped(inputs, load, work, finish)
    if failed and many:
        print(f"ddrm-fast {command}: {len(failed)} of {len(inputs)} inputs failed", file=sys.stderr)
    return 1 if failed else 0
