"""`ddrm-fast bound`: the variational bound of pictures under a network, in bits per dimension."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from . import specs
from .networks import device_of, read_prior

if TYPE_CHECKING:
    from torch import Tensor

    from ..ddpm import Reverse

FORMAT = "ddrm_fast.bound/1"


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

        def watched(steps: Iterable[int]) -> Iterator[int]:
            for step in steps:
                yield step
                bar.update()

        for start in starts:
            indices = list(range(start, min(start + size_of_batch, len(pictures))))
            labels = None
            if classes is not None and pictures.labels is not None:
                labels = torch.from_numpy(pictures.labels[indices]).to(device)
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


def _read(
    arguments: argparse.Namespace, device: str
) -> tuple[Callable[..., Tensor], Reverse, int, int, int | None]:
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

    def first_half(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return prior(x_t, t, labels)[:, : x_t.shape[1]]

    # channels of variances that are not used
    read = prior.network if reverse.variance == "learned" else first_half
    return read, reverse, side, prior.channels or 3, classes
