"""Command lines with wrong words; seeded.

What must come of each: status 0, or 1 or 2 with lines that begin with `ddrm-fast` and name an option or a
file of the line; never a traceback. By hand:

    python tests/fuzz_commands.py 1000 [SEED]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import re
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import torch
from cli_cases import PARAMETERS, picture, scene

from ddrm_fast.cli import build_parser, main

QUICK = ["--prior", "gaussian", "--steps", "2", "--quiet"]
#: what is no command line of an instant, or changes this process
LEFT_OUT = {"bench", "info", "completion", "tasks", "train", "train-ddpm", "train-diffir"}
NOT_VARIED = {"--help", "--ray", "--workers", "--compile", "--download", "--threads", "--version"}
WORDS = (
    "", "x", "-1", "0", "1", "2", "1e400", "nan", "inf", "-inf", "2^70", "9" * 30, "0.5", "3,1", "None",
    "karras:3:1:0.01", "karras:3", "a.png", "missing.png", "grey.png", "é", "8x8", "4x", "random:0.5",
    "gaussian:1", "motion:0", "box:1,2,3,4", "bayer:RGGB", "torn.npz", "list.json", ".", "/dev/null",
)  # fmt: skip


def lines() -> list[list[str]]:
    """Good command lines, of which words are changed."""
    found = [
        ["restore", "a.png", "--task", task, *words, "--sigma", "0.05", *QUICK]
        for task, words in PARAMETERS.items()
        if task not in ("cs", "blockcs")
    ]
    found += [["degrade", "a.png", "--task", task, *words] for task, words in PARAMETERS.items()]
    found.append(["restore", "degraded/a.npz", *QUICK])
    found.append(["evaluate", "a.png", "--cases", "noise-25,sr2", "--crop", "16", *QUICK])
    found.append(
        ["restore", "a.png", "--task", "noise", "--memory", "1GiB", *QUICK, "--samples", "1"]
    )
    return found


def prepare(folder: Path) -> None:
    """The files that the lines name."""
    os.chdir(folder)
    picture(Path("a.png"), scene(3, 16, 16))
    picture(Path("grey.png"), scene(1, 16, 16))
    Path("torn.npz").write_bytes(b"PK\3\4 torn")
    Path("list.json").write_text("[1, 2]")


def options() -> dict[str, list[str]]:
    """Options of each command."""
    parser = build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {
        name: [
            o for o in command._option_string_actions if o.startswith("--") and o not in NOT_VARIED
        ]
        for name, command in commands.choices.items()
        if name not in LEFT_OUT
    }


def outcome(words: list[str]) -> str:
    """ "" where it is right, else what leaked."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            status = main(words)
    except SystemExit as exit:
        status = exit.code
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "ddrm_fast" in f.filename]
        place = (
            f"{frames[-1].filename.rpartition('ddrm_fast/')[2]}:{frames[-1].lineno}"
            if frames
            else "?"
        )
        return f"{place}: {type(error).__name__}: {str(error)[:100]}"
    said = err.getvalue()
    if "Traceback" in said:
        return f"traceback: {said.strip().splitlines()[-1][:120]}"
    if status == 0:
        return ""
    if status not in (1, 2):
        return f"status {status}"
    told = [line for line in said.splitlines() if line.startswith("ddrm-fast")]
    if not told:
        return f"status {status} without a word: {said[-80:]!r}"
    names = [w for w in words if len(w) > 1] + [
        w[2:].replace("-", "_") for w in words if w[:2] == "--"
    ]
    if not any(name in line for line in told for name in names):
        return f"no option named: {re.sub(r'[0-9]{4,}', 'N', told[0])[:140]}"
    return ""


def fuzz(count: int, seed: int = 0) -> tuple[collections.Counter[str], dict[str, str], int]:
    """Leaks with how often each came, an example of each, and how many lines were right."""
    rng, known, base = random.Random(seed), options(), lines()
    leaks: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    good = 0
    for number in range(count):
        words = list(base[number % len(base)])
        for _ in range(rng.choice((1, 1, 2, 3))):
            if rng.random() < 0.4:
                place = rng.randrange(1, len(words))
                words[place] = rng.choice(WORDS)
            else:
                option = rng.choice(known[words[0]])
                words += [option] if rng.random() < 0.2 else [option, rng.choice(WORDS)]
        words += [] if words[0] == "evaluate" else ["--out", f"out{number % 7}"]
        torch.manual_seed(0)
        found = outcome(words)
        good += not found
        if found:
            leaks[found] += 1
            examples.setdefault(found, " ".join(word or "''" for word in words))
    return leaks, examples, good


def by_hand() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        leaks, examples, good = fuzz(count, seed)
    for leak, times in leaks.most_common():
        print(f"{times:5} {leak}\n        {examples[leak]}")
    print(f"{count} command lines, {good} right, {len(leaks)} leaks at as many places")
    return bool(leaks)


if __name__ == "__main__":
    raise SystemExit(by_hand())
