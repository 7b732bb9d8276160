"""`ddrm-fast bound`: the variational bound of pictures under a network, in bits per dimension."""

from __future__ import annotations

import argparse
import math

from . import specs
from .networks import add_prior_options, device_of, read_prior

FORMAT = "ddrm_fast.bound/1"
EXAMPLE = """\
examples:
  The first 100 pictures of a folder; every timestep is a network call for every picture:

    ddrm-fast bound runs/photos/ddpm.safetensors others/ --limit 100 --json bound.json

  A published network whose variances are learned:

    ddrm-fast bound 64x64_diffusion.pt others/ --size 64 --variance learned

what it prints (means over the pictures, bits per dimension; less is better):
  L_T      what the noised picture still tells at the last timestep
  L_t      the sum of the steps between
  L_0      the last step, as the probability of the 8-bit values
  total    their sum: an upper bound of -log2 p(picture) / dimensions, with its standard error
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parser of this command."""
    parser = commands.add_parser(
        "bound",
        help="likelihood of pictures, in bits per dimension",
        description="The variational bound on the likelihood of pictures (Ho et al. 2020, eq. 5), term "
        "by term.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast bound PRIOR PATH ... [options]",
    )
    parser.add_argument(
        "prior", metavar="PRIOR", help="a file of `ddrm-fast train-ddpm`, or a published one"
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folders, or .npy and .npz arrays")
    parser.add_argument("--limit", metavar="N", help="the first N pictures of each path (all)")
    parser.add_argument("--batch", default=16, metavar="N", help="pictures at a time (16)")
    parser.add_argument(
        "--size", metavar="PIXELS", help="side (that of the training, if it is known)"
    )
    parser.add_argument(
        "--variance",
        choices=["small", "large", "learned"],
        help="(that of the training, else small)",
    )
    parser.add_argument(
        "--no-clip", dest="clip", action="store_false", help="do not clip predictions to [-1, 1]"
    )
    parser.add_argument("--seed", default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--json", metavar="FILE", help="write all terms here too")
    add_prior_options(parser)
    parser.add_argument("--threads", metavar="N", help="CPU threads (all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    import torch
    from tqdm import tqdm

    from ..ddpm import Bound, bound
    from ..io import write_json
    from ..training.data.sized import load_pictures

    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    limit = None if arguments.limit is None else specs.whole("--limit", arguments.limit)
    size_of_batch = specs.whole("--batch", arguments.batch)
    seed = specs.seed("--seed", arguments.seed)
    if arguments.json is not None:
        specs.writable("--json", arguments.json)
    device = device_of(arguments)
    network, reverse, side, channels, classes = _read(arguments, device)
    pictures = load_pictures(arguments.paths, side, channels, classes, limit=limit)
    parts = []
    starts = range(0, len(pictures), size_of_batch)
    with tqdm(
        total=len(starts) * reverse.process.T,
        unit="step",
        disable=True if arguments.quiet else None,
    ) as bar:

        def watched(steps):
            for step in steps:
                yield step
                bar.update()

        for start in starts:
            indices = list(range(start, min(start + size_of_batch, len(pictures))))
            labels = (
                None if classes is None else torch.from_numpy(pictures.labels[indices]).to(device)
            )
            parts.append(
                bound(
                    network, reverse, pictures.tensor(indices).to(device), labels, clip=arguments.clip,
                    seed=seed, first=start, progress=watched,
                )
            )  # fmt: skip
    whole = Bound(
        *(torch.cat([getattr(p, n) for p in parts]) for n in ("prior", "terms", "mean_square"))
    )
    means = {
        "L_T": float(whole.prior.mean()),
        "L_t": float(whole.terms[:, 1:].sum(dim=1).mean()),
        "L_0": float(whole.terms[:, 0].mean()),
        "total": float(whole.total.mean()),
    }
    count = len(pictures)
    error = float(whole.total.std()) / math.sqrt(count) if count > 1 else None
    for name, value in means.items():
        print(f"{name:6} {value:9.4f}" + (f" +- {error:.4f}" if name == "total" and error else ""))
    skipped = len(pictures.unreadable), len(pictures.too_small)
    print(
        f"{count} pictures of {side} x {side}; skipped: {skipped[0]} unreadable, {skipped[1]} too small"
    )
    if arguments.json is not None:
        record = {
            "format": FORMAT, "unit": "bits per dimension", "prior": arguments.prior, "pictures": count,
            "clip": arguments.clip, "seed": seed, **means, "standard_error": error,
            "terms": whole.terms.mean(dim=0).tolist(),
            "mean_square_error": whole.mean_square.mean(dim=0).tolist(),
        }  # fmt: skip
        write_json(arguments.json, record)
    return 0


def _read(arguments: argparse.Namespace, device: str):
    """Network, its meaning, side and channels of its pictures, classes."""
    from ..ddpm import Process, Reverse
    from ..ddpm.files import is_ddpm, load_ddpm

    side = None if arguments.size is None else specs.whole("--size", arguments.size)
    if is_ddpm(arguments.prior):
        if arguments.prior_config is not None:
            raise ValueError(f"--prior-config: {arguments.prior} describes itself, expected none")
        config, network = load_ddpm(arguments.prior)
        network.to(device)
        reverse = config.make_reverse()
        if arguments.variance not in (None, config.variance):
            if "learned" in (arguments.variance, config.variance):
                raise ValueError(
                    f"--variance: got {arguments.variance}, the network was trained with {config.variance}"
                )
            reverse = Reverse(reverse.process, config.prediction, arguments.variance)
        return network, reverse, side or config.size, config.channels, config.num_classes
    prior = read_prior(arguments, device)
    prior.precision = "float32"  # likelihoods are not for approximations
    if side is None:
        raise ValueError(f"--size: got none, and {prior.name} does not tell it")
    reverse = Reverse(Process(prior.schedule), prior.prediction, arguments.variance or "small")
    classes = prior.num_classes
    network = prior.network
    if reverse.variance != "learned":  # channels of variances that are not used

        def network(x_t, t, labels=None):
            return prior(x_t, t, labels)[:, : x_t.shape[1]]

    return network, reverse, side, prior.channels or 3, classes
