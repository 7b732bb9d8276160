"""``--task`` and the parameters of all tasks, as the registry has them."""

from __future__ import annotations

import argparse

from ..registry import TASKS, Choice, Parameter


def add_task_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add ``--task`` and the parameters of all tasks."""
    group = parser.add_argument_group("degradation")
    group.add_argument(
        "--task", type=task_name, required=required, metavar="TASK", help="see the table below"
    )
    for parameter in parameters().values():
        choices = parameter.choices if isinstance(parameter, Choice) else None
        metavar = None if choices else parameter.metavar
        group.add_argument(
            parameter.option, choices=choices, metavar=metavar, help=parameter.described
        )


def task_name(text: str) -> str:
    """The name of a task, from it or an alias."""
    try:
        return TASKS.find(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid choice: {error}") from None


def parameters() -> dict[str, Parameter]:
    """The parameters of all tasks by name; several tasks may share one."""
    return {parameter.name: parameter for task in TASKS.values() for parameter in task.parameters}


def task_table() -> str:
    """The tasks and their options, for the end of a help text."""
    lines = ["tasks (`ddrm-fast tasks` helps to choose):"]
    for name, task in TASKS.items():
        words = [p.option if p.required else f"[{p.option}]" for p in task.parameters]
        lines.append(f"  {name:9}{task.summary}{': ' * bool(words)}{' '.join(words)}")
    hidden = " and ".join(name for name, task in TASKS.items() if not task.shown)
    lines.append(
        f"measurements of {hidden} are no pictures: .npz files of `ddrm-fast degrade` only"
    )
    return "\n".join(lines)


def task_options(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters that were given for ``--task``, as text.

    Raises:
        ValueError: One is missing, or the task does not take it.
    """
    given = {name: getattr(arguments, name) for name in parameters()}
    given = {name: text for name, text in given.items() if text is not None}
    if arguments.task is None:
        if given:
            raise ValueError(f"{next(iter(given))}: belongs to a --task, which is not given")
        return {}
    from ..problems import check_options

    check_options(arguments.task, given)
    return given
