"""`ddrm-fast restore --model FILE`: pictures through a trained restorer, DiffIR."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..io import Picture, check_writable, read_picture, write_json, write_picture
from ..io.files import digest
from . import results, specs
from .asked import use_machine
from .cluster import share_out
from .folder import Stages, work_through
from .inputs import Input, find_inputs, output_folder
from .networks import device_of

if TYPE_CHECKING:
    from ..diffir.files import Network
    from ..diffir.networks import DiffIRS2
    from ..diffir.restore import Restored

#: options of `restore` that say how a degradation is inverted, which a trained restorer knows itself
_FOREIGN = ("task", "sigma", "truth", "arrays", "sampler", "steps", "prior", "window", "levels")


def run(arguments: argparse.Namespace) -> int:
    """Restore; returns the exit status."""
    for name in _FOREIGN:
        if getattr(arguments, name, None) not in (None, False, "default"):
            raise ValueError(f"--{name}: is not for --model, which knows what it restores")
    specs.seed("--seed", arguments.seed)
    if arguments.samples is not None:
        specs.whole("--samples", arguments.samples, 1, 10**6)
    inputs = find_inputs(arguments.inputs, output_folder(arguments.out))
    if arguments.ray is not None:
        return share_out("restore", inputs, partial(stages, arguments), arguments)
    with use_machine(arguments):
        return work_through("restore", inputs, stages(arguments), arguments.quiet)


@dataclass
class _Work:
    """One picture on its way through the stages."""

    item: Input
    target: Path
    picture: Picture
    parameters: dict[str, Any]
    earlier: dict[str, Any] | None
    mask: Tensor | None
    result: Restored | None = None
    seconds: float = 0.0


def stages(arguments: argparse.Namespace) -> Stages:
    """What is done with one picture, with the network read once."""
    from ..diffir import load

    device = device_of(arguments)
    network = load(arguments.model, device=device)
    weights = digest(Path(arguments.model).read_bytes())
    return Stages(
        lambda item: _read(item, arguments, network, weights),
        _unless_done(lambda work: _restore(work, arguments, network, device)),
        _unless_done(lambda work: _write(work, device)),
    )


def _unless_done(step: Callable[[_Work], Any]) -> Callable[[Any], Any]:
    return lambda work: work if isinstance(work, str) else step(work)


def _read(
    item: Input, arguments: argparse.Namespace, network: Network, weights: str
) -> _Work | str:
    """What there is to do for a picture; what to print where it is done already."""
    from ..problems import arrays

    picture = read_picture(item.path)
    target = Path(arguments.out) / item.name
    mask = None
    if network.config.task == "inpainting":
        if arguments.mask is None:
            raise ValueError("--mask: got none, but the model is for inpainting")
        height, width = picture.pixels.shape[1:]
        known = arrays.mask(arguments.mask, (height, width), specs.seed("--seed", arguments.seed))
        known = known if known.dim() == 2 else known.amin(dim=0)
        mask = 1 - known.float()[None, None]
    elif arguments.mask is not None:
        raise ValueError(f"--mask: got one, but the model is for {network.config.task}")
    parameters = {
        "input": picture.sha256, "model": weights, "seed": str(arguments.seed),
        "samples": str(arguments.samples or 1), "mask": arguments.mask,
    }  # fmt: skip
    earlier = results.earlier(target)
    if results.finished(earlier, target, parameters):
        return f"{item.path} -> {target}*  is finished already"
    check_writable(f"{target}-uncertainty.png")
    return _Work(item, target, picture, parameters, earlier, mask)


def _restore(work: _Work, arguments: argparse.Namespace, network: Network, device: str) -> _Work:
    from ..diffir import restore

    start = time.perf_counter()
    y = work.picture.pixels.float()[None].to(device)
    y = y.expand(-1, 3, -1, -1) if y.shape[1] == 1 else y
    work.result = restore(
        cast("DiffIRS2", network),  # (it looks)
        y.contiguous(), mask=None if work.mask is None else work.mask.to(device),
        num_samples=specs.whole("--samples", arguments.samples or "1", 1, 10**6),
        seed=specs.seed("--seed", arguments.seed),
    )  # fmt: skip
    work.seconds = time.perf_counter() - start
    return work


def _write(work: _Work, device: str) -> str:
    """Write the files of one picture; what to print."""
    target, result = work.target, work.result
    if result is None:
        raise ValueError(f"{work.item.path}: is not restored yet")
    shown = [("", result.mean[0])]
    if result.std is not None:
        shown = [(f"-{i + 1}", x) for i, x in enumerate(result.samples[0])]
        shown += [("-mean", result.mean[0]), ("-uncertainty", _brightened(result.std[0]))]
    files = [f"{target.name}{ending}.png" for ending, _ in shown]
    results.begin(work.earlier, target, work.parameters, files)
    for name, (_, pixels) in zip(files, shown, strict=True):
        write_picture(target.with_name(name), Picture(pixels.clamp(0, 1).cpu()))
    record = {
        "format": results.FORMAT, "parameters": work.parameters, "seconds": round(work.seconds, 3),
        "feature_map_bytes": result.map_bytes, **results.provenance(device), "files": files,
    }  # fmt: skip
    write_json(f"{target}.json", record)
    return f"{work.item.path} -> {', '.join(files)}  in {work.seconds:.2f} s"


def _brightened(std: Tensor) -> Tensor:
    """Standard deviation over the draws, its 99.9th percentile white."""
    plane = std.square().mean(dim=0, keepdim=True).sqrt()
    bright = max(
        float(torch.quantile(plane.flatten()[:: max(1, plane.numel() // 2**20)], 0.999)), 1 / 255
    )
    return (plane / bright).expand(3, -1, -1)
