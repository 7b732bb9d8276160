"""`ddrm-fast train-ddpm`: train a DDPM, the discrete-time diffusion model of Ho et al. 2020."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import specs, train_common
from .networks import device_of

if TYPE_CHECKING:
    from ..ddpm import DDPMConfig

EXAMPLE = """\
examples:
  A folder of pictures (each is scaled down and cut to a square), 64 x 64; stop it with Ctrl-C or
  SIGTERM at any time and continue later. The same pictures have to be given again:

    ddrm-fast train-ddpm photos/ --size 64 --out runs/photos --sample-every 1000
    ddrm-fast train-ddpm photos/ --out runs/photos --resume

  Look at what it learned, and measure it on other pictures, in bits per dimension:

    ddrm-fast sample runs/photos/ddpm.safetensors --out drawn.png
    ddrm-fast bound runs/photos/ddpm.safetensors others/

  Use it:

    ddrm-fast restore small.png --task sr --factor 2 --prior runs/photos/ddpm.safetensors

  Learned variances and the cosine schedule of Nichol and Dhariwal (2021), on an array:

    ddrm-fast train-ddpm cifar.npz --size 32 --schedule cosine --variance learned --out runs/cifar

  Ten classes, a tenth of the labels dropped for classifier-free guidance (sub-folders are classes,
  in the order of their names; an .npz file brings its labels as "labels"):

    ddrm-fast train-ddpm digits/ --grey --size 32 --classes 10 --label-drop 0.1 --out runs/digits

  Without any picture, from synthetic dead leaves:

    ddrm-fast train-ddpm --dead-leaves 5000 --size 32 --out runs/leaves

  Four GPUs of this machine (more machines: see `accelerate config`):

    accelerate launch --multi_gpu --num_processes 4 -m ddrm_fast.cli train-ddpm photos/ \\
        --size 64 --out runs/x

what goes together:
  --prediction   eps       the noise, as in Ho et al.
                 v         sqrt(abar) eps - sqrt(1 - abar) x0: even-tempered at all noise levels
                 x0, mean  the picture; the posterior's mean
  --objective    simple    mean squared error (default)
                 vlb       the variational bound: better likelihood, worse pictures
                 hybrid    both; default and made for --variance learned
  --schedule     jsd ends in pure noise (abar = 0): not with eps; ancestral sampling only

files in the output folder:
  checkpoint.pt        everything that --resume needs
  ddpm.safetensors     the weights (running mean): a prior for every command
  log.jsonl            loss, gradient norm, learning rate and speed, a line every --log-every steps
  samples/*.png        grids of drawn pictures, from the same noise each time
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "train-ddpm",
        help="train a DDPM on your pictures",
        description="Train a discrete-time diffusion model (Ho et al. 2020) that every other command "
        "takes as a prior.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast train-ddpm [PATH ...] --size PIXELS --out DIR [options]",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folders of pictures; .npy or .npz files of uint8 arrays",
    )
    train_common.add_start(parser)
    data = parser.add_argument_group("pictures")
    data.add_argument("--size", type=int, metavar="PIXELS", help="side of the pictures")
    data.add_argument("--grey", action="store_true", default=None, help="one channel, not three")
    data.add_argument(
        "--dead-leaves", type=int, default=0, metavar="N", help="synthetic pictures (0)"
    )
    data.add_argument("--classes", type=int, metavar="N", help="train with labels 0 to N - 1")
    data.add_argument("--label-drop", type=float, metavar="SHARE", help="of the labels (0)")
    data.add_argument(
        "--no-flip", dest="flip", action="store_false", default=None, help="mirror no picture"
    )
    what = parser.add_argument_group(
        "model", "On --resume, whatever is not given is taken from the checkpoint."
    )
    what.add_argument("--prediction", metavar="P", help="eps, x0, v or mean (eps)")
    what.add_argument("--variance", metavar="V", help="small, large or learned (small)")
    what.add_argument("--objective", metavar="O", help="simple, vlb or hybrid (see below)")
    what.add_argument(
        "--schedule",
        metavar="S",
        help="linear, quadratic, sigmoid, constant, jsd or cosine (linear)",
    )
    what.add_argument(
        "--vlb-weight", type=float, metavar="X", help="of the bound in the hybrid (0.001)"
    )
    what.add_argument("--timesteps", type=int, metavar="T", help="(1000)")
    what.add_argument("--beta-start", type=float, metavar="B", help="first beta (0.1 / T)")
    what.add_argument("--beta-end", type=float, metavar="B", help="last beta (20 / T)")
    net = parser.add_argument_group("network: the U-Net of guided-diffusion, or one of diffusers")
    net.add_argument("--width", type=int, metavar="N", help="channels at full size (64)")
    net.add_argument("--mult", metavar="N,N,...", help="times the width at each level (1,2,2)")
    net.add_argument("--blocks", type=int, metavar="N", help="residual blocks of a level (2)")
    net.add_argument(
        "--attention", metavar="SIDE,...", help="levels with attention (16, where there is)"
    )
    net.add_argument("--dropout", type=float, metavar="SHARE", help="(0)")
    net.add_argument(
        "--network", metavar="FILE",
        help='settings as JSON: {"kind": "diffusers", ...arguments of UNet2DModel} or '
        '{"kind": "guided", ...}',
    )  # fmt: skip
    train_common.add_fit(
        parser,
        {
            "steps": 100000, "batch": 64, "accumulate": 1, "learning_rate": "2e-4", "warmup": 1000,
            "decay_steps": 0, "weight_decay": 0, "ema": 0.9999, "clip": 1, "precision": "float32", "seed": 0,
        },
    )  # fmt: skip
    how = train_common.add_run(parser)
    how.add_argument("--sample-every", type=int, default=0, metavar="N", help="steps (0: never)")
    how.add_argument("--samples", type=int, default=16, metavar="N", help="pictures of a grid (16)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    import torch

    from ..ddpm import load_pictures, train
    from ..training.loop import check_new

    train_common.settle(arguments)
    leaves = specs.whole("--dead-leaves", arguments.dead_leaves, 0)
    shown = train_common.shown_of(
        arguments, sample_every=arguments.sample_every, sample_count=arguments.samples
    )
    if not arguments.resume:
        check_new(arguments.out)
    device = device_of(arguments)
    loaders = train_common.loaders_of(arguments, device)
    config = configure(arguments, device)
    machine = train_common.processes(arguments, device)
    pictures = load_pictures(
        arguments.paths, config.size, config.channels, config.num_classes,
        leaves=leaves, seed=config.seed, workers=torch.get_num_threads(),
        cache=arguments.out if machine.main else None,
    )  # fmt: skip
    trainer = train(
        config, pictures, arguments.out, machine=machine, resume=arguments.resume,
        final_decay=arguments.final_decay, shown=shown, loaders=loaders, share_cpu=arguments.share_cpu,
    )  # fmt: skip
    train_common.say_where(trainer)
    return 0


_SAME_NAME = (
    "size", "label_drop", "flip", "prediction", "variance", "objective", "vlb_weight", "schedule",
    "beta_start", "beta_end",
)  # fmt: skip


def configure(arguments: argparse.Namespace, device: str = "cpu") -> DDPMConfig:
    """The run that was asked for: the checkpoint's on --resume, with what was given compared."""
    from ..ddpm import DDPMConfig, Trainer
    from ..training.checkpoints import read_checkpoint
    from ..training.files import refuse_differences

    given: dict[str, Any] = {name: getattr(arguments, name) for name in _SAME_NAME}
    given |= {
        "T": arguments.timesteps,
        "num_classes": arguments.classes,
        "channels": 1 if arguments.grey else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    given |= train_common.fit_of(arguments, device)
    if not arguments.resume:
        if "size" not in given:
            raise ValueError("--size: got none, expected the side of the pictures, such as 32")
        if given.get("variance") == "learned":
            given.setdefault("objective", "hybrid")
        return DDPMConfig(network=_network(arguments, given["size"]), **given)
    state = read_checkpoint(arguments.out, Trainer.kind)
    base = DDPMConfig.from_json(state["config"])
    compared = {name: value for name, value in given.items() if name != "steps"}
    refuse_differences({name: getattr(base, name) for name in compared}, compared)
    train_common.refuse_fewer_steps(given, state["step"])
    base = replace(base, steps=given.get("steps", base.steps))
    asked = _network(arguments, base.size, base.network)
    refuse_differences({"network": base.network}, {"network": {**base.network, **asked}})
    return base


#: options of the network, and what they decide of its settings
_NETWORK = {
    "width": "model_channels",
    "mult": "channel_mult",
    "blocks": "num_res_blocks",
    "attention": "attention_resolutions",
    "dropout": "dropout",
}


def _network(
    arguments: argparse.Namespace, size: int, resumed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The network's settings; of a resumed one those that were given again."""
    from ..ddpm.networks import own_network

    given = {name: getattr(arguments, name) for name in _NETWORK}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.network is not None:
        if given:
            raise ValueError(f"--network: got it with --{next(iter(given))}, expected one of them")
        return specs.settings("--network", arguments.network) or {}
    for name in ("mult", "attention"):
        if name in given:
            given[name] = _numbers(f"--{name}", given[name])
    if resumed is not None:
        mult = {"mult": tuple(resumed.get("channel_mult", (1,)))}
        made = own_network(size, **{"attention": (), **mult, **given})
        made = {name: list(x) if isinstance(x, tuple) else x for name, x in made.items()}
        return {_NETWORK[name]: made[_NETWORK[name]] for name in given}
    levels = len(given.get("mult", (1, 2, 2)))
    if "attention" not in given:
        given["attention"] = (16,) if 16 in [size / 2**level for level in range(levels)] else ()
    return own_network(size, **given)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise ValueError(f"{option}: got {text!r}, expected numbers such as 1,2,2") from None
