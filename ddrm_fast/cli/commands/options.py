"""Options that several commands share, as functions that add them; nothing here imports PyTorch."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from ...registry import EDITS, SAMPLERS, TASKS, Choice, Parameter

#: what `--prior` takes
PRIORS = (
    "default, gaussian, a file of `ddrm-fast train` or `train-ddpm`, a published checkpoint "
    "(guided-diffusion, DDPM), or a diffusers folder"
)
#: of modules that are not imported here; a test holds them against those
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
ORDERS = ("rows", "columns", "snake")
METHODS = ("mask-shift", "joint")
FORMATS = ("png", "tif", "tiff", "jpg", "jpeg", "webp", "avif")
WINDOW, FACTOR, GPU_BATCH = 256, 4, 16
DEFAULT_MEMORY = "2GiB"
LOCAL = "local"

log = logging.getLogger(__name__)


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


def add_sampling_options(parser: argparse.ArgumentParser, samples: int | None) -> None:
    """Add the options of everything that draws; None: no samples unless they are asked for."""
    group = parser.add_argument_group("drawing")
    group.add_argument(
        "--samples", default=samples, metavar="N",
        help=f"per picture ({samples})" if samples else "drawn pictures of each, with their mean and their "
        "uncertainty (none: the best estimate alone, in at most ten network calls)",
    )  # fmt: skip
    group.add_argument(
        "--steps",
        metavar="STEPS",
        help="network calls: a number of uniform timesteps, as published; karras:COUNT:START:END or "
        "geometric:COUNT:START:END, noise levels of [0, 1] pictures, such as karras:20:1:0.01; or timesteps "
        f"with commas between them (what suits the task and its noise; with --sampler {_usual_steps()})",
    )
    group.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    restoring = [name for name, sampler in SAMPLERS.items() if sampler.restores]
    group.add_argument(
        "--sampler", type=partial(_sampler_name, restoring), metavar="SAMPLER",
        help=f"{', '.join(restoring)} (what suits the task and its noise; ddrm with --steps or "
        "--eta alone); ddnm, repaint and ilvr take the input for free of noise; not "
        "ddim and ddpm, which draw from the prior whatever the input shows: see ddrm-fast sample",
    )  # fmt: skip
    group.add_argument(
        "--travel", nargs=2, metavar=("LENGTH", "REPEAT"),
        help="time travel: sample every stretch of LENGTH steps REPEAT times, for holes and strong "
        "degradations, at REPEAT times the network calls (none; repaint: 10 10)",
    )  # fmt: skip
    add_parameters(group, restoring)
    group.add_argument(
        "--end-on-measurement",
        action="store_true",
        help="pull the result to the measurement as far as its noise allows",
    )
    group.add_argument("--clip-x0", action="store_true", help="clip predictions to [0, 1]")
    group.add_argument(
        "--edit", action="append", metavar="NAME[:PARAMETER=VALUE,...]", dest="edits",
        help="what changes a run beside the sampler, such as clip:low=0.1, once for each: "
        f"{', '.join(EDITS)} (none)",
    )  # fmt: skip
    group.add_argument(
        "--prior",
        default="default",
        metavar="PRIOR",
        help=PRIORS,
    )
    add_prior_options(group)
    group.add_argument(
        "--precision", choices=PRECISIONS,
        help="of the network's arithmetic (auto: bfloat16 on processors with instructions for it, "
        "twice as fast there)",
    )  # fmt: skip
    group.add_argument(
        "--compile", action="store_true",
        help="torch.compile of the network, which takes a while for each size of pictures, windows or tiles: "
        "for many of one size; needs a C++ compiler; the same pictures but for rounding (no)",
    )  # fmt: skip
    group.add_argument(
        "--checkpointing", action="store_true",
        help="samplers that look through the network (dps, pigdm ...) take less memory, and a call more a "
        "step (where memory does not suffice)",
    )  # fmt: skip
    add_machine_options(group)
    add_large_options(parser)
    add_class_options(parser)


def _usual_steps() -> str:
    """The defaults of ``--steps`` in words."""
    return ", ".join(f"{e.name} {e.steps}" for e in SAMPLERS.values() if e.restores)


def _sampler_name(known: Sequence[str], text: str) -> str:
    """The name of a sampler that restores, from it or an alias."""
    try:
        name = SAMPLERS.find(text).name
        if name not in known:
            raise ValueError(f"{name} draws from the prior; expected one of {', '.join(known)}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid choice: {error}") from None
    return name


def add_parameters(group: argparse._ActionsContainer, samplers: Iterable[str]) -> None:
    """Add the parameters of samplers, each once; one whose name an option has already is left out."""
    found: dict[str, dict[str, Parameter]] = {}
    for name in samplers:
        for parameter in SAMPLERS[name].parameters:
            found.setdefault(parameter.name, {})[name] = parameter
    for takers in found.values():
        parameter = next(iter(takers.values()))
        choices = parameter.choices if isinstance(parameter, Choice) else None
        try:
            group.add_argument(
                parameter.option, dest=f"sampler_{parameter.name}", choices=choices,
                metavar=None if choices else parameter.metavar, help=_described(takers),
            )  # fmt: skip
        except argparse.ArgumentError:
            log.warning(
                "%s: an option has this name, the sampler keeps its default", parameter.option
            )


def _described(takers: Mapping[str, Parameter]) -> str:
    """The help of a parameter with its default, or with that of each sampler where they differ."""
    first, *others = takers.values()
    if all(other.default == first.default for other in others):
        return first.described
    said = ", ".join(f"{name} {parameter.default}" for name, parameter in takers.items())
    return f"{first.help.partition(': ')[2] or first.help} ({said})"


def add_machine_options(group: argparse._ActionsContainer) -> None:
    """Add backend and threads."""
    group.add_argument(
        "--backend",
        metavar="NAME",
        help="cpp, reference, ... (chosen by itself; see ddrm-fast info)",
    )
    group.add_argument("--threads", metavar="N", help="CPU threads (all)")
    group.add_argument("--quiet", action="store_true", help="no progress bars, errors only")


def add_prior_options(group: argparse._ActionsContainer) -> None:
    """Add what a prior is read with, besides its name."""
    group.add_argument(
        "--prior-config", metavar="FILE",
        help="JSON with what a checkpoint's weights do not tell, such as "
        '{"num_heads": 4, "use_new_attention_order": false}; not needed for published files',
    )  # fmt: skip
    group.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1, ... (a GPU where there is one)"
    )


def add_class_options(parser: argparse.ArgumentParser, label: str = "") -> None:
    """Add the class and its guidance.

    Args:
        label:
            What --label is where it is not given, in brackets.
    """
    group = parser.add_argument_group("classes, for priors that know them")
    group.add_argument("--label", metavar="N", help=f"class of what the pictures show{label}")
    group.add_argument("--classifier", metavar="FILE", help="a published classifier that guides")
    group.add_argument("--classifier-config", metavar="FILE", help="JSON, as --prior-config")
    group.add_argument(
        "--null-label", metavar="N",
        help="label that stands for no class: guides without a classifier",
    )  # fmt: skip
    group.add_argument("--guidance", metavar="SCALE", help="strength of the guidance (1)")


def add_large_options(parser: argparse.ArgumentParser) -> None:
    """Add windows and levels."""
    group = parser.add_argument_group("large pictures")
    group.add_argument(
        "--large", choices=METHODS,
        help="mask-shift: window by window, each continuing its neighbours; joint: one run over the whole "
        "picture, whose network sees tiles (mask-shift, where another option of these is given)",
    )  # fmt: skip
    group.add_argument(
        "--window", metavar="N",
        help=f"side of a window, or ROWSxCOLUMNS: the size that the network was made for ({WINDOW}); joint: "
        "of a tile (whole picture)",
    )  # fmt: skip
    group.add_argument(
        "--stride", metavar="N",
        help="from window to window, or ROWSxCOLUMNS (half a window; joint: as the network's reach needs)",
    )  # fmt: skip
    group.add_argument(
        "--margin", metavar="N",
        help="outermost pixels of a window that are left to its neighbours (half of what two windows share; "
        "joint: the network's reach)",
    )  # fmt: skip
    group.add_argument(
        "--order", metavar="ORDER",
        help=f"of the windows: {', '.join(ORDERS)}, or their numbers, such as 0,2,1,3 (rows)",
    )  # fmt: skip
    group.add_argument(
        "--batch", metavar="N",
        help=f"windows that run together at most (1 on a processor, {GPU_BATCH} on a GPU); joint: tiles (1)",
    )  # fmt: skip
    group.add_argument(
        "--levels", metavar="N",
        help="smaller pictures that are restored first, for holes larger than a window, high factors and "
        "colour (0)",
    )  # fmt: skip
    group.add_argument(
        "--level-factor", metavar="N", help=f"between the sides of two levels ({FACTOR})"
    )


def add_disk_options(parser: argparse.ArgumentParser) -> None:
    """Add what pictures larger than memory need."""
    group = parser.add_argument_group(
        "pictures larger than memory: .tif with --memory, or .zarr (pip install 'ddrm-fast[large]')"
    )
    group.add_argument(
        "--memory", metavar="SIZE",
        help=f"work from disk to disk with so much memory, such as 1GiB ({DEFAULT_MEMORY}); an interrupted "
        "run goes on where it was; --out names the result, .zarr or .tif, or a folder",
    )  # fmt: skip
    group.add_argument(
        "--keep-going", action="store_true",
        help="a damaged block of the input counts as missing pixels",
    )  # fmt: skip


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray`` and ``--workers``."""
    group = parser.add_argument_group("many workers, with Ray (pip install 'ddrm-fast[ray]')")
    group.add_argument(
        "--ray", nargs="?", const=LOCAL, metavar="ADDRESS",
        help="share the inputs among workers of this machine, or of the cluster at ADDRESS (auto, "
        "HOST:PORT, ray://HOST:PORT), whose machines must see the same files; a worker that dies is "
        "replaced, and what is written is not computed again",
    )  # fmt: skip
    group.add_argument(
        "--workers", metavar="N",
        help="number of them (one per GPU, else up to eight per machine); --threads is then of each worker",
    )  # fmt: skip
