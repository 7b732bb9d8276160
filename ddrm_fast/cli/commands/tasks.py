"""`ddrm-fast tasks`: what is wrong with a picture, and which task says so."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from ...registry import SAMPLERS, TASKS, Parameter, Task

EXAMPLE = """\
examples:
  Which task is mine?

    ddrm-fast tasks

  What one of them takes, with a line to begin with:

    ddrm-fast tasks oldphoto

  The same as tables, for a document:

    ddrm-fast tasks --markdown
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "tasks",
        help="what is wrong with my picture? tasks and samplers to choose from",
        description="Say which task fits what is wrong with a picture, and what it takes.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast tasks [TASK] [--markdown]",
    )
    parser.add_argument("task", nargs="?", metavar="TASK", help="one of them, in full")
    parser.add_argument("--markdown", action="store_true", help="as tables")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print; returns the exit status."""
    if arguments.task is not None:
        print(in_full(TASKS.find(arguments.task)))
    elif arguments.markdown:
        print(tables())
    else:
        print(choice())
    return 0


def choice() -> str:
    """What is wrong, and the task for it; then the samplers."""
    lines = ["what is wrong with my picture?", ""]
    width = max(len(task.complaint) for task in TASKS.values())
    lines += [f"  {task.complaint:{width}}  --task {name}" for name, task in TASKS.items()]
    lines += [
        "",
        "several at once: `--task oldphoto` is grey, damaged and small together; else one after the other,",
        "the last that happened first",
        "",
        "how it is restored:",
        "",
    ]
    for name, sampler in SAMPLERS.items():
        if sampler.restores:
            said = f"{sampler.summary} ({sampler.steps} steps)"
            lines.append(
                f"  --sampler {name:8}  {said}{'; ' * bool(sampler.advice)}{sampler.advice}"
            )
    lines += ["", "`ddrm-fast tasks TASK` says what a task takes"]
    return "\n".join(lines)


def in_full(task: Task) -> str:
    """Everything that is known of a task."""
    lines = [f"{task.name}: {task.summary}", f"  for: {task.complaint}"]
    if task.aliases:
        lines.append(f"  also called: {', '.join(task.aliases)}")
    for parameter in task.parameters:
        needed = "needed" if parameter.required else "may be given"
        text = f"{parameter.option} {parameter.metavar}  {needed}: {parameter.described}"
        lines += textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="      ")
    disk = "yes" if task.regions is not None else "no: window by window it is not"
    lines.append(f"  pictures larger than memory: {disk}")
    said = "".join(f" {p.option} {p.example}" for p in task.parameters if p.required)
    begin = "restore photo.png" if task.shown else "degrade photo.png"
    lines += ["", f"  ddrm-fast {begin} --task {task.name}{said}"]
    return "\n".join(lines)


def tables() -> str:
    """Tasks and samplers as tables of a document."""
    lines = ["| what is wrong | `--task` | parameters | also called |", "|---|---|---|---|"]
    for name, task in TASKS.items():
        words = " ".join(_code(parameter) for parameter in task.parameters)
        lines.append(f"| {task.complaint} | `{name}` | {words} | {', '.join(task.aliases)} |")
    lines += ["", "| `--sampler` | what it does | steps | parameters | |", "|---|---|---:|---|---|"]
    for name, sampler in SAMPLERS.items():
        words = " ".join(_code(parameter) for parameter in sampler.parameters)
        where = sampler.advice if sampler.restores else "`ddrm-fast sample`"
        lines.append(f"| `{name}` | {sampler.summary} | {sampler.steps} | {words} | {where} |")
    return "\n".join(lines)


def _code(parameter: Parameter) -> str:
    text = f"`{parameter.option} {parameter.metavar}`"
    return text if parameter.required else f"[{text}]"
