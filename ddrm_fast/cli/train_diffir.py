"""`ddrm-fast train-diffir`: train DiffIR, stage 1 and then stage 2."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from . import specs, train_common
from .networks import device_of

if TYPE_CHECKING:
    from ..diffir import DiffIRConfig
    from ..diffir.learner import DiffIRFit
    from ..diffir.pairs import PairSource

EXAMPLE = """\
examples:
  A small network for noise of 25 of 255 behind a blur, from a folder of clean pictures; both stages:

    ddrm-fast train-diffir photos/ --degrade deblur --set kernel=gaussian:1.2 --noise 0.098 --out runs/one
    ddrm-fast train-diffir photos/ --degrade deblur --set kernel=gaussian:1.2 --noise 0.098 --out runs/two \\
        --first runs/one/diffir.safetensors

  Pairs of blurred and sharp pictures with the same names, the published network:

    ddrm-fast train-diffir --pairs blurred/ sharp/ --preset deblurring --out runs/one

  Larger patches later (first step, side, pictures):

    ddrm-fast train-diffir photos/ --noise 0.1 --progress 0,64,8 --progress 50000,128,4 --out runs/one

files in the output folder:
  checkpoint.pt        everything that --resume needs
  diffir.safetensors   the weights (running mean), for `ddrm_fast.diffir.load`
  log.jsonl            losses, gradient norm, learning rate and speed
"""

#: small enough for a CPU: 2.8 million parameters in stage 2
SMALL = {
    "dim": 16, "num_blocks": (2, 2, 2, 2), "num_refinement_blocks": 2, "ffn_expansion_factor": 2,
    "n_encoder_res": 1,
}  # fmt: skip


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "train-diffir",
        help="train DiffIR, a restorer for one degradation",
        description="Train DiffIR (Xia et al. 2023): stage 1 sees the ground truth, stage 2 (--first) "
        "does not.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast train-diffir [FOLDER ...] --out DIR [options]",
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of clean pictures")
    train_common.add_start(parser)
    data = parser.add_argument_group("pictures")
    data.add_argument("--pairs", nargs=2, metavar=("IN", "OUT"), help="folders of the same names")
    data.add_argument("--degrade", metavar="TASK", help="how clean pictures are degraded")
    data.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the task"
    )
    data.add_argument("--noise", metavar="S[,S]", help="standard deviation, pictures in [0, 1] (0)")
    data.add_argument("--jpeg", metavar="Q[,Q]", help="quality that measurements are stored with")
    what = parser.add_argument_group("network")
    what.add_argument(
        "--variant",
        default="deblurring",
        metavar="V",
        help="super_resolution, deblurring or inpainting (deblurring)",
    )
    what.add_argument(
        "--scale", type=int, default=1, metavar="N", help="of super_resolution: 1, 2 or 4"
    )
    what.add_argument("--preset", metavar="NAME", help="a published shape, such as deblurring")
    what.add_argument("--network", metavar="FILE", help="settings of DiffIRConfig as JSON")
    what.add_argument("--first", metavar="FILE", help="weights of stage 1: trains stage 2")
    what.add_argument(
        "--progress", action="append", metavar="STEP,SIDE,N", help="patches from a step on (0,64,8)"
    )
    what.add_argument("--vector-weight", type=float, metavar="X", help="of the vectors' loss (1)")
    train_common.add_fit(
        parser,
        {
            "steps": 100000, "batch": "see --progress", "accumulate": 1, "learning_rate": "2e-4",
            "warmup": 300, "decay_steps": "all", "weight_decay": 0, "ema": 0.999, "clip": 1,
            "precision": "float32", "seed": 0,
        },
    )  # fmt: skip
    train_common.add_run(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    from ..diffir import DiffIRS1, load
    from ..diffir.learner import train
    from ..training.loop import check_new

    train_common.settle(arguments)
    shown = train_common.shown_of(arguments)
    if not arguments.resume:
        check_new(arguments.out)
    device = device_of(arguments)
    first = None if arguments.first is None else load(arguments.first)
    if first is not None and not isinstance(first, DiffIRS1):
        raise ValueError(f"--first: {arguments.first} is of stage 2, expected weights of stage 1")
    network = first.config.with_stage(2) if first is not None else _network(arguments)
    fit = _fit(arguments, network, device)
    machine = train_common.processes(arguments, device)
    data = _data(arguments, fit)
    trainer = train(
        fit, data, arguments.out, first=first, machine=machine, resume=arguments.resume,
        final_decay=arguments.final_decay, shown=shown, share_cpu=arguments.share_cpu,
        loaders=train_common.loaders_of(arguments, device),
    )  # fmt: skip
    train_common.say_where(trainer)
    return 0


def _network(arguments: argparse.Namespace) -> DiffIRConfig:
    from ..diffir import DiffIRConfig, preset

    if arguments.preset is not None:
        return preset(arguments.preset, 1)
    given: dict[str, Any] = dict(SMALL)
    if arguments.network is not None:
        given = specs.settings("--network", arguments.network) or {}
    if arguments.variant == "inpainting":
        given.setdefault("inp_channels", 4)
    try:
        return DiffIRConfig(
            **{"task": arguments.variant, "stage": 1, "scale": arguments.scale, **given}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"--network: {error}" if arguments.network else str(error)) from None


def _fit(arguments: argparse.Namespace, network: DiffIRConfig, device: str) -> DiffIRFit:
    """The run that was asked for; on --resume the checkpoint's, with another number of steps if given."""
    from ..diffir.learner import DiffIRFit, Trainer
    from ..training.checkpoints import read_checkpoint
    from ..training.files import refuse_differences

    given = train_common.fit_of(arguments, device)
    if given.pop("batch", None) is not None:
        raise ValueError("--batch: say it with --progress STEP,SIDE,N")
    if arguments.progress:
        given["progress"] = [_three(text) for text in arguments.progress]
    if arguments.vector_weight is not None:
        given["vector_weight"] = arguments.vector_weight
    if not arguments.resume:
        given.setdefault("decay_steps", given.get("steps", 100_000))
        return DiffIRFit(network=network, **given)
    state = read_checkpoint(arguments.out, Trainer.kind)
    base = DiffIRFit.from_json(state["config"])
    if arguments.first is None and base.network.stage == 2:
        raise ValueError("--first: got none, but the run is of stage 2; expected stage 1's weights")
    train_common.refuse_fewer_steps(given, state["step"])
    steps = given.pop("steps", base.steps)
    asked = asdict(replace(base, **given))
    refuse_differences(asdict(base), asked)
    return replace(base, steps=steps, first="" if base.network.stage == 1 else base.first)


def _three(text: str) -> tuple[int, int, int]:
    try:
        step, side, count = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--progress: got {text!r}, expected STEP,SIDE,N such as 0,64,8") from None
    return step, side, count


def _numbers(option: str, text: str) -> float | tuple[float, float]:
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise ValueError(f"{option}: got {text!r}, expected a number, or two with a comma")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _data(arguments: argparse.Namespace, fit: DiffIRFit) -> PairSource:
    """What the run learns from."""
    from ..diffir.pairs import Degraded, load_pairs
    from ..training.data.crops import CropConfig, CropSource
    from ..training.data.packs import load_folders, pack

    network = fit.network
    if arguments.pairs is not None:
        if arguments.folders or arguments.degrade or arguments.noise or arguments.jpeg:
            raise ValueError("--pairs: got it with clean pictures to degrade; expected one of them")
        if network.task == "inpainting":
            raise ValueError(
                "--pairs: inpainting learns from clean pictures; use --degrade inpaint"
            )
        inputs, targets = arguments.pairs
        return load_pairs(inputs, targets, network.scale, fit.seed)
    if not arguments.folders:
        raise ValueError("FOLDER: got none, expected folders of clean pictures, or --pairs")
    how: dict[str, Any] = {"options": dict(_setting(text) for text in arguments.set)}
    if arguments.degrade is not None:
        how["task"] = arguments.degrade
    elif how["options"]:
        raise ValueError("--set: got it without --degrade TASK")
    if arguments.noise is not None:
        how["sigma_y"] = _numbers("--noise", arguments.noise)
    if arguments.jpeg is not None:
        how["jpeg"] = _numbers("--jpeg", arguments.jpeg)
    largest = max(side for _, side, _ in fit.progress) * network.scale
    photographs = load_folders(arguments.folders, largest)
    crops = CropSource(photographs, pack([]), 0.0, CropConfig(smooth_share=0.0), fit.seed)
    return Degraded(crops, how, network.scale, network.task == "inpainting")


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"--set: got {text!r}, expected NAME=VALUE")
    return name, value
