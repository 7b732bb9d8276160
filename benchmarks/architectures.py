"""Networks for the default prior, compared after the same time of training on the same pictures.

    python benchmarks/architectures.py photos/ --seconds 3600 --test unseen/ --out architectures.json \\
        48,64,128,256 32,64,128,256:1,2,2,2 64,96,192:2:96

A network is CHANNELS[:BLOCKS[:EMBEDDING]], see DenoiserConfig in ddrm_fast.priors.networks.denoiser. Each
trains alone, one after the other, with the recipe of `ddrm-fast train`: a constant learning rate for five
eighths of the time, then as many steps as fit into the rest, with a falling rate. The learning rate, the
crops and their order are those of every other network. Time is processor time of all threads together, which
other work on the machine changes little, as long as threads that wait do not spin: OMP_WAIT_POLICY=passive.

Reported: PSNR of denoising whole pictures that were not trained on. Networks that are in the result file
already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ddrm_fast import ops
from ddrm_fast.cli import specs
from ddrm_fast.cli.errors import FAILURES, one_line
from ddrm_fast.evaluation import metrics
from ddrm_fast.io import write_json
from ddrm_fast.priors.networks.denoiser import Denoiser, DenoiserConfig
from ddrm_fast.training import with_final_decay
from ddrm_fast.training.batches import batches
from ddrm_fast.training.data.crops import CropConfig, CropSource
from ddrm_fast.training.data.packs import load_folders
from ddrm_fast.training.denoiser import Trainer, TrainingConfig, best_precision, build_source
from ddrm_fast.training.files import refuse_differences

LEVELS = (5, 15, 25, 50, 100, 200)  # of 255
DECAY = 3 / 8  # of the time; as in `ddrm-fast train`


def read_network(text: str) -> DenoiserConfig:
    """CHANNELS[:BLOCKS[:EMBEDDING]] as a configuration.

    Raises:
        ValueError: It is something else, or no such network exists.
    """
    parts = text.split(":")
    try:
        numbers = [tuple(int(word) for word in part.split(",")) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or (len(numbers) == 3 and len(numbers[2]) != 1):
        raise ValueError(
            f"network: got {text!r}, expected CHANNELS[:BLOCKS[:EMBEDDING]] such as "
            "48,64,128,256:2:128"
        )
    config = DenoiserConfig(numbers[0])
    if len(numbers) > 1:
        blocks = numbers[1][0] if len(numbers[1]) == 1 else numbers[1]
        config = replace(config, blocks=blocks)
    return replace(config, embedding=numbers[2][0]) if len(numbers) == 3 else config


def train_for(config: TrainingConfig, source: CropSource, seconds: float) -> tuple[Trainer, float]:
    """Train with the recipe of the default prior for a time instead of a number of steps.

    The falling part has as many steps as fit into its share of the time at the speed of the first part.

    Args:
        config:
            The run; its steps and decay_steps do not count.
        seconds:
            Processor time of all threads, > 0.

    Returns:
        The trainer, and the seconds that it really took.
    """
    trainer = Trainer(replace(config, steps=sys.maxsize, decay_steps=0), source)
    start = time.process_time()
    crops = batches(trainer, sys.maxsize)
    while trainer.step == 0 or time.process_time() - start < (1 - DECAY) * seconds:
        trainer.advance(next(crops))
    falling = max(1, round(trainer.step * DECAY / (1 - DECAY)))
    trainer.fit = with_final_decay(trainer.fit, trainer.step, falling)
    for _ in range(falling):
        trainer.advance(next(crops))
    crops.close()
    return trainer, time.process_time() - start


@torch.no_grad()
def denoising(model: Denoiser, pictures: Sequence[torch.Tensor]) -> dict[str, float]:
    """Mean PSNR in dB at each noise level, the noise of a picture being the same for every network.

    Args:
        pictures:
            Clean, (3, H, W) in [0, 1].
    """
    found = {}
    for level in LEVELS:
        values = []
        for index, clean in enumerate(pictures):
            noise = ops.normal(ops.noise_keys(1, index), *clean.shape)
            noisy = clean + level / 255 * noise[0]
            # the network works in [-1, 1], where noise is twice as strong
            clear = model(2 * noisy[None] - 1, torch.tensor([2 * level / 255]))
            values.append(metrics.psnr((clear[0] + 1) / 2, clean))
        found[str(level)] = round(sum(values) / len(values), 4)
    return found


def measure(
    config: TrainingConfig, source: CropSource, seconds: float, pictures: Sequence[torch.Tensor]
) -> dict:
    """Train and test one network."""
    trainer, taken = train_for(config, source, seconds)
    return {
        "parameters": sum(parameter.numel() for parameter in trainer.mean.parameters()),
        "steps": trainer.step,
        "seconds": round(taken, 1),
        "psnr": denoising(trainer.mean, pictures),
    }


def table(networks: dict[str, dict]) -> str:
    """The results in Markdown, best at 25/255 first."""
    levels = "".join(f" {level} |" for level in LEVELS)
    lines = [
        f"| network | parameters | steps | seconds |{levels}",
        "|---|---:|---:|---:|" + "---:|" * len(LEVELS),
    ]
    for name, row in sorted(networks.items(), key=lambda pair: -pair[1]["psnr"]["25"]):
        psnr = "".join(f" {row['psnr'][str(level)]:.2f} |" for level in LEVELS)
        size = f"{row['parameters'] / 1e6:.2f} M"
        lines.append(f"| {name} | {size} | {row['steps']} | {row['seconds']:.0f} |{psnr}")
    return "\n".join(lines)


def open_result(out: Path, settings: dict) -> dict:
    """The result of an earlier run with the same settings, or a new one.

    Raises:
        ConfigMismatch: It has other settings.
    """
    if not out.exists():
        return {"settings": settings, "networks": {}}
    result = json.loads(out.read_text())
    refuse_differences(result["settings"], settings)
    return result


def run(words: Sequence[str] | None = None) -> int:
    """Compare; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="architectures.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", help="photographs to train on")
    parser.add_argument(
        "networks", nargs="+", metavar="NETWORK", help="CHANNELS[:BLOCKS[:EMBEDDING]]"
    )
    parser.add_argument("--test", required=True, metavar="DIR", help="pictures never trained on")
    parser.add_argument(
        "--seconds", required=True, help="of the processor for training, for each network"
    )
    parser.add_argument("--dead-leaves", default=0.45, help="share of dead leaves (0.45)")
    parser.add_argument("--leaves-count", default=600, help="pictures of leaves (600)")
    parser.add_argument("--batch", default=16, help="crops per step (16)")
    parser.add_argument("--learning-rate", default=4e-4, help="peak rate (4e-4)")
    parser.add_argument("--log-floor", default=0.003, help="see ddrm-fast train (0.003)")
    parser.add_argument("--smooth", default=0.4, help="share of magnified crops (0.4)")
    parser.add_argument("--patch", default=64, help="side of a crop (64)")
    parser.add_argument("--threads", help="CPU threads (all)")
    parser.add_argument("--out", type=Path, default=Path("architectures.json"))
    arguments = parser.parse_args(words)
    seconds = specs.number("--seconds", arguments.seconds, 0)
    if arguments.threads is not None:
        torch.set_num_threads(specs.threads("--threads", arguments.threads))
    models = {text: read_network(text) for text in arguments.networks}
    base = TrainingConfig(
        leaves_share=specs.number("--dead-leaves", arguments.dead_leaves, 0, 1),
        leaves_count=specs.whole("--leaves-count", arguments.leaves_count, 0),
        batch=specs.whole("--batch", arguments.batch),
        learning_rate=specs.number("--learning-rate", arguments.learning_rate, 0),
        log_floor=specs.number("--log-floor", arguments.log_floor, 0),
        precision=best_precision(),
    )
    patch, smooth = specs.whole("--patch", arguments.patch), arguments.smooth
    crops = CropConfig(patch=patch, smooth_share=specs.number("--smooth", smooth, 0, 1))
    base = replace(base, crops=crops)
    configs = {text: replace(base, model=model) for text, model in models.items()}
    unseen = load_folders([arguments.test], 1)
    pictures = [torch.from_numpy(x.copy()).permute(2, 0, 1).float() / 255 for x in unseen]
    if not pictures:
        raise ValueError(f"--test: {arguments.test} holds no picture")
    source = build_source(base, [arguments.folder], torch.get_num_threads())
    settings = {name: value for name, value in asdict(base).items() if name != "model"}
    settings |= {"seconds": seconds, "data": source.digest(), "test": unseen.digest()}
    settings |= {"threads": torch.get_num_threads()}
    settings = json.loads(json.dumps(settings))
    result = open_result(arguments.out, settings)
    for text, config in configs.items():
        if text not in result["networks"]:
            result["networks"][text] = measure(config, source, seconds, pictures)
            write_json(arguments.out, result)
            print(f"{text}: {result['networks'][text]}", file=sys.stderr)
    print(table({text: result["networks"][text] for text in configs}))
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Command line."""
    try:
        return run(words)
    except FAILURES as error:
        print(f"architectures.py: {one_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
