"""One input after another: a failure is said and counted, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..io import OutputError
from ..machine.overlap import overlapped
from .errors import FAILURES, one_line, printable
from .inputs import Input


class Stages(NamedTuple):
    """What a command does with an input.

    Attributes:
        load:
            Reads it.
        work:
            Works on what was read.
        save:
            Writes the results; returns a line to print.
    """

    load: Callable[[Input], Any]
    work: Callable[[Any], Any]
    save: Callable[[Any], str]


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
        line:
            What to print.
        failed:
            It is an explanation of a failure.
        stop:
            A result could not be written: the same would happen to all that follow.
    """

    line: str
    failed: bool = False
    stop: bool = False


def attempt(work: Callable[[], str], path: Path) -> Outcome:
    """Work on an input; a failure becomes an outcome."""
    try:
        return Outcome(work())
    except OutputError as error:
        return Outcome(str(error), failed=True, stop=True)
    except FAILURES as error:
        return Outcome(one_line(error, path), failed=True)


class Tally:
    """Prints what comes of inputs, as a context, and counts; a progress bar where there are several.

    Args:
        command:
            Its name, for messages.
        count:
            Number of inputs.
        quiet:
            Print failures only.
    """

    def __init__(self, command: str, count: int, quiet: bool) -> None:
        self.command, self.count, self.quiet, self.failed = command, count, quiet, 0
        self._bar = tqdm(total=count, unit="picture", disable=True if quiet or count < 2 else None)

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def add(self, outcome: Outcome) -> None:
        """The next outcome.

        Raises:
            OutputError: It stops the run.
        """
        if outcome.stop:
            raise OutputError(outcome.line)
        line = printable(outcome.line)
        if outcome.failed:
            self.failed += 1
            tqdm.write(f"ddrm-fast {self.command}: {line}", file=sys.stderr)
        elif not self.quiet:
            tqdm.write(line, file=sys.stdout)
        self._bar.update()

    def status(self) -> int:
        """Exit status, 1 where an input failed; says how many."""
        if self.failed and self.count > 1:
            said = f"{self.failed} of {self.count} inputs failed"
            print(f"ddrm-fast {self.command}: {said}", file=sys.stderr)
        return 1 if self.failed else 0


def work_through(command: str, inputs: Sequence[Input], stages: Stages, quiet: bool) -> int:
    """Do the work of a command on each input; reading and writing overlap with it.

    Args:
        command:
            Its name, for messages.
        inputs:
            What to work on; a progress bar where there are several.
        stages:
            ``load`` and ``save`` run in threads.
        quiet:
            Print failures only.

    Returns:
        Exit status: 1 where an input failed.

    Raises:
        OutputError: A result cannot be written: the same would happen to all that follow.
    """
    with Tally(command, len(inputs), quiet) as tally:

        def finish(item: Input, result: Callable[[], Any]) -> None:
            tally.add(attempt(lambda: stages.save(result()), item.path))

        overlapped(inputs, stages.load, stages.work, finish)
    return tally.status()
