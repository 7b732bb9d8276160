"""The protocol of the DDRM paper with any checkpoint, and the paper's table beside the figures.

    python benchmarks/ddrm_protocol.py imagenet/val --list imagenet_val_1k.txt \\
        --prior models/256x256_diffusion_uncond.pt --device cuda --batch-size 16 --out runs/protocol

Kawar, Elad, Ermon, Song, "Denoising Diffusion Restoration Models", NeurIPS 2022, section 5: 1,000 pictures
of ImageNet's validation set, the square in their middle scaled to 256 x 256; noise 0 and 0.05; DDRM with 20
steps, eta = 0.85 and eta_b = 1. One sample of each picture is kept as PNG, its figures as a line of text;
the same command goes on after an interruption. docs/evaluation.md explains the tasks and what is needed.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

import ddrm_fast
from ddrm_fast import operators
from ddrm_fast.cli import specs
from ddrm_fast.cli.errors import FAILURES, one_line
from ddrm_fast.cli.inputs import find_inputs
from ddrm_fast.compat import ddrm as published
from ddrm_fast.evaluation import metrics
from ddrm_fast.evaluation.perception import Perception, read_perception
from ddrm_fast.io import Picture, read_picture, write_atomically, write_json, write_picture
from ddrm_fast.io.files import digest, read_bytes
from ddrm_fast.operators import Operator
from ddrm_fast.priors import (
    DenoiserPrior,
    Prior,
    classifier_guidance,
    load_classifier,
    without_labels,
)
from ddrm_fast.priors.load import DEFAULT
from ddrm_fast.training.files import refuse_differences

UNIFORM = torch.full((9,), 1 / 9, dtype=torch.float64)


def _published_blur(side: int) -> Operator:
    """The operator of the released code, whose coefficients and singular values are out of step: see
    docs/fidelity.md. What it set to 0 counts as not measured."""
    blur = published.Deblurring(UNIFORM.float(), 3, side, "cpu").operator
    blur.zero = 0.0
    return blur


def _half_missing(side: int) -> Operator:
    known = torch.rand(side, side, generator=torch.Generator().manual_seed(0)) >= 0.5
    return operators.Inpainting(known)


# from a side to the operator
TASKS: dict[str, Callable[[int], Operator]] = {
    "sr4": lambda side: operators.SuperResolution(4),
    "deblur-published": _published_blur,
    "deblur": lambda side: operators.SeparableBlur(UNIFORM, size=(side, side)),
    "sr2": lambda side: operators.SuperResolution(2),
    "sr8": lambda side: operators.SuperResolution(8),
    "color": lambda side: operators.Colorization(),
    "inpaint-50": _half_missing,
}


class Cell(NamedTuple):
    """What the paper's tables 1 and 2 give for a task: PSNR in dB, KID x 1000 and network calls of DDRM; PSNR
    and KID x 1000 of its baseline (bicubic, or the blurred picture). None: no figure with a source.

    The figures are those of public transcriptions of the tables; the paper itself was not at hand.
    """

    psnr: float | None = None
    kid: float | None = None
    calls: int | None = None
    baseline_psnr: float | None = None
    baseline_kid: float | None = None


PAPER = {
    ("sr4", 0.0): Cell(26.55, 7.22, 20, 25.65, 44.90),
    ("deblur", 0.0): Cell(35.64, 0.71, 20, 19.26, 38.00),
    ("sr4", 0.05): Cell(25.21, 12.43, 20),
    ("deblur", 0.05): Cell(25.45, None, 20),
}
PAPER_WITH_CLASSES = {
    ("sr4", 0.0): Cell(26.55, 6.56, 20),
    ("deblur", 0.0): Cell(35.65, 0.70, 20),
}


@dataclass(frozen=True)
class Item:
    """A picture of the protocol, and its class where a list gives one."""

    name: str
    path: Path
    label: int | None = None


def find_items(folder: Path, listing: Path | None, out: Path) -> list[Item]:
    """The pictures of a folder, or those of a list: "name" or "name label" in each line.

    A name may leave out the folder and the suffix. What is in ``out`` does not count.

    Raises:
        ValueError: There are none, a listed one is not there, or a line is something else.
    """
    found = find_inputs([str(folder)], out)
    if listing is None:
        return [Item(item.name, item.path) for item in found]
    by_name = {Path(item.name).stem: item for item in found} | {item.name: item for item in found}
    items = []
    for number, line in enumerate(listing.read_text().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) > 2 or (len(words) == 2 and not words[1].isdigit()):
            raise ValueError(
                f"--list: line {number} of {listing} is {line!r}, expected: name [label]"
            )
        names = (words[0], Path(words[0]).with_suffix("").as_posix(), Path(words[0]).stem)
        item = next((by_name[name] for name in names if name in by_name), None)
        if item is None:
            raise ValueError(
                f"--list: line {number} of {listing}: there is no picture {words[0]} in {folder}"
            )
        items.append(Item(item.name, item.path, int(words[1]) if len(words) == 2 else None))
    return items


def load_picture(path: Path, side: int) -> Tensor:
    """The square in the middle of a picture, (3, side, side) in [0, 1], scaled as the released code does:
    Pillow's antialiased bilinear filter, 8 bits."""
    pixels = read_picture(path).pixels.expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(np.rint(pixels.numpy() * 255).astype(np.uint8))
    short = min(image.size)
    left, top = (round((n - short) / 2) for n in image.size)
    image = image.crop((left, top, left + short, top + short))
    image = image.resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class Figures:
    """What is known of the pictures of a task and noise level: PNG files, and a line of figures for each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "figures.jsonl"
        self.known: dict[str, dict] = {}
        folder.mkdir(parents=True, exist_ok=True)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            self.known[found["name"]] = found

    def picture(self, name: str) -> Path:
        """File of the restored picture."""
        return self.folder / f"{name}.png"

    def has(self, name: str, lpips: bool) -> bool:
        """Whether nothing is left to do for a picture."""
        found = self.known.get(name)
        return (
            found is not None and self.picture(name).is_file() and ("lpips" in found or not lpips)
        )

    def add(self, name: str, restored: Tensor, figures: dict) -> None:
        """Keep a picture: its file first, so that a line never stands for a picture that is not there."""
        write_picture(self.picture(name), Picture(restored))
        self.known[name] = {"name": name, **figures}
        with open(self.log, "a") as file:
            file.write("\n" + json.dumps(self.known[name]))  # a torn line before it stays alone

    def mean(self, kind: str, names: list[str]) -> float | None:
        """Over these pictures; None where one has no such figure."""
        values = [self.known[name].get(kind) for name in names]
        return fmean(values) if values and None not in values else None


def seed_of(name: str, seed: int) -> int:
    """Seed of a picture: its own, whatever the other pictures and the batches are."""
    return seed * 2**32 + zlib.crc32(name.encode())


def baseline(y: Tensor, shape: torch.Size) -> Tensor:
    """What one has without a model: the measurement, enlarged by bicubic interpolation where it is small."""
    if y.shape[-2:] != shape[-2:]:
        y = nn.functional.interpolate(y, size=shape[-2:], mode="bicubic", align_corners=False)
    return y.expand(shape)


@dataclass
class Protocol:
    """Everything that the figures depend on, and where they are kept."""

    prior: Prior
    sampler: ddrm_fast.DDRM
    guidance: Callable | None
    device: torch.device
    side: int
    batch_size: int
    seed: int
    out: Path
    perception: Perception
    quiet: bool

    def figures(self, task: str, sigma: float) -> Figures:
        return Figures(self.out / f"{task}-{sigma:g}")

    def restore(self, task: str, sigma: float, items: list[Item], failed: dict[str, str]) -> None:
        """Restore what is not there yet; pictures that cannot be read are added to ``failed``."""
        figures, operator = self.figures(task, sigma), TASKS[task](self.side)
        lpips = self.perception.lpips is not None
        missing = [item for item in items if not figures.has(item.name, lpips)]
        with tqdm(
            total=len(items), initial=len(items) - len(missing), desc=f"{task} {sigma:g}",
            unit="picture", disable=True if self.quiet else None,
        ) as bar:  # fmt: skip
            for batch, x in self._batches(missing, failed):
                self._restore_batch(figures, operator, sigma, batch, x)
                bar.update(len(batch))

    def _batches(
        self, items: list[Item], failed: dict[str, str]
    ) -> Iterator[tuple[list[Item], Tensor]]:
        for start in range(0, len(items), self.batch_size):
            read = {}
            for item in items[start : start + self.batch_size]:
                try:
                    read[item] = load_picture(item.path, self.side)
                except (OSError, ValueError) as error:
                    failed[item.name] = one_line(error, item.path)
            if read:
                yield list(read), torch.stack(list(read.values()))

    def _restore_batch(
        self, figures: Figures, operator: Operator, sigma: float, items: list[Item], x: Tensor
    ) -> None:
        seeds = [seed_of(item.name, self.seed) for item in items]
        noisy = [
            ddrm_fast.degrade(picture[None], operator, sigma, seed, keep_going=True)
            for picture, seed in zip(x.to(self.device), seeds, strict=True)
        ]
        y = torch.cat(noisy)
        labels = None
        if self.prior.num_classes is not None or self.guidance is not None:
            labels = torch.tensor([item.label for item in items])
        restored = ddrm_fast.restore(
            y, operator, sigma, self.prior, self.sampler,
            seed=torch.tensor(seeds), labels=labels, guidance=self.guidance,
        ).mean.cpu()  # fmt: skip
        simple = baseline(y.cpu(), x.shape)
        for item, truth, result, before in zip(items, x, restored, simple, strict=True):
            found = {
                "psnr": min(metrics.psnr(result, truth), 200.0),
                "baseline_psnr": min(metrics.psnr(before, truth), 200.0),
            }
            if self.perception.lpips is not None:
                found["lpips"] = self.perception.lpips(result, truth)
            figures.add(item.name, result, found)

    def rows(self, cases: list[tuple[str, float]], items: list[Item]) -> list[dict]:
        """A row of means for each task and noise level."""
        rows, seen = [], {}
        paths = {item.name: item.path for item in items}
        for task, sigma in cases:
            figures = self.figures(task, sigma)
            names = [item.name for item in items if figures.has(item.name, False)]
            row = {"task": task, "sigma": sigma, "pictures": len(names)}
            row["calls"] = len(self.prior.schedule.steps(self.sampler.steps))
            for kind in ("psnr", "lpips", "baseline_psnr"):
                row[kind] = figures.mean(kind, names)
            row |= self.perception.compare(
                f"{task} {sigma:g}", lambda name: load_picture(paths[name], self.side),
                figures.picture, names, seen,
            )  # fmt: skip
            rows.append(row)
        return rows


def table(rows: list[dict], classes: bool) -> str:
    """The figures with the paper's beside them, in Markdown."""
    paper = PAPER_WITH_CLASSES if classes else PAPER
    lines = [
        "| task | noise | pictures | calls | PSNR | KID x 1000 | LPIPS | baseline PSNR | "
        "paper: calls | PSNR | KID x 1000 | baseline PSNR |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cell = paper.get((row["task"].removesuffix("-published"), row["sigma"]), Cell())
        kid = 1000 * row["kid"] if "kid" in row else None
        own = [
            f"{row['sigma']:g}", row["pictures"], row["calls"], _number(row["psnr"], 2),
            _number(kid, 2), _number(row["lpips"], 3), _number(row["baseline_psnr"], 2),
        ]  # fmt: skip
        theirs = [_number(cell.calls, 0)]
        theirs += [_number(value, 2) for value in (cell.psnr, cell.kid, cell.baseline_psnr)]
        lines.append(f"| {row['task']} | {' | '.join(map(str, own + theirs))} |")
    lines += [
        "",
        f"paper: Kawar et al. 2022, tables 1 and 2, {'DDRM-CC' if classes else 'DDRM'}, 1,000 pictures; "
        "- where no figure has a source",
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def move(prior: Prior, device: torch.device) -> None:
    """Move a prior's network.

    Raises:
        ValueError: It is a function that cannot be moved.
    """
    network = prior.denoiser if isinstance(prior, DenoiserPrior) else prior.network
    if isinstance(network, nn.Module):
        network.to(device)
    elif device.type != "cpu":
        raise ValueError(f"--device: {prior.name} is a function, which cannot be moved to {device}")


def settings(arguments: argparse.Namespace) -> dict:
    """What the figures depend on, for a later run to compare with."""
    path = DEFAULT if arguments.prior == "default" else Path(arguments.prior)
    return {
        "prior": digest(path.read_bytes()) if path.is_file() else str(arguments.prior),
        "prior_config": _json(arguments.prior_config),
        "classifier": digest(read_bytes(arguments.classifier)) if arguments.classifier else None,
        "classifier_config": _json(arguments.classifier_config),
        "size": arguments.size,
        "steps": arguments.steps,
        "seed": arguments.seed,
    }


def _json(path: Path | None) -> dict | None:
    try:
        return None if path is None else json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not readable as JSON ({error})") from None


def open_folder(out: Path, wanted: dict) -> None:
    """Make the folder of the results, or check that it is one of the same settings.

    Raises:
        ConfigMismatch: It holds results of other settings; the message lists the differences.
    """
    path = out / "settings.json"
    if path.exists():
        refuse_differences(json.loads(path.read_text()), wanted)
    else:
        write_json(path, wanted)


def read_arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ddrm_protocol.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, help="clean pictures, sub-folders included")
    parser.add_argument("--list", type=Path, help="which of them: lines of name [label]")
    parser.add_argument("--limit", help="only the first N pictures")
    parser.add_argument("--prior", default="default", help="see ddrm_fast.load_prior (default)")
    parser.add_argument("--prior-config", type=Path, help="JSON: what its weights do not tell")
    parser.add_argument("--classifier", type=Path, help="guides; needs labels in the list")
    parser.add_argument("--classifier-config", type=Path, help="JSON, as --prior-config")
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"of {','.join(TASKS)} (all)")
    parser.add_argument("--noise", default="0,0.05", help="noise levels (0,0.05)")
    parser.add_argument("--steps", default=20, help="network calls per picture (20)")
    parser.add_argument("--size", default=256, help="side of the pictures (256)")
    parser.add_argument("--seed", default=0)
    parser.add_argument("--batch-size", default=1, help="pictures at a time (1)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")
    parser.add_argument(
        "--download", action="store_true", help="fetch feature networks (LPIPS, KID)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--out", type=Path, default=Path("ddrm_protocol"), help="folder of the results"
    )
    arguments = parser.parse_args(words)
    for name, least in (("steps", 1), ("size", 32), ("seed", 0), ("batch_size", 1)):
        given = getattr(arguments, name)
        setattr(arguments, name, specs.whole(f"--{name.replace('_', '-')}", given, least))
    return arguments


def run(words: list[str] | None = None) -> int:
    """Run the protocol; returns the exit status, 1 where a picture could not be read.

    Raises:
        ValueError, OSError: Something is not what it should be; the message says what.
    """
    arguments = read_arguments(words)
    tasks = arguments.tasks.split(",")
    for task in tasks:
        if task not in TASKS:
            raise ValueError(f"--tasks: got {task!r}, expected some of {', '.join(TASKS)}")
    levels = [specs.noise_level("--noise", level) for level in arguments.noise.split(",")]
    cases = [(task, sigma) for task in tasks for sigma in levels]
    items = find_items(arguments.folder, arguments.list, arguments.out)
    if arguments.limit is not None:
        items = items[: specs.whole("--limit", arguments.limit)]

    wanted, device = settings(arguments), torch.device(arguments.device)
    prior = ddrm_fast.load_prior(arguments.prior, wanted["prior_config"])
    move(prior, device)
    guidance = None
    if arguments.classifier is not None:
        classifier = load_classifier(arguments.classifier, wanted["classifier_config"])
        guidance = classifier_guidance(classifier.to(device))
        if prior.num_classes is None:  # the labels are the classifier's
            prior = without_labels(prior)
    classes = guidance is not None or prior.num_classes is not None
    if classes and any(item.label is None for item in items):
        raise ValueError(f"--list: {prior.name} wants a class for every picture: name label")
    open_folder(arguments.out, wanted)
    protocol = Protocol(
        prior, ddrm_fast.DDRM(arguments.steps), guidance, device, arguments.size,
        arguments.batch_size, arguments.seed, arguments.out,
        read_perception(True, arguments.download, device, arguments.quiet), arguments.quiet,
    )  # fmt: skip
    failed: dict[str, str] = {}
    for task, sigma in cases:
        protocol.restore(task, sigma, [i for i in items if i.name not in failed], failed)
    rows = protocol.rows(cases, [item for item in items if item.name not in failed])
    text = table(rows, classes)
    write_json(arguments.out / "table.json", {"settings": wanted, "rows": rows})
    write_atomically(arguments.out / "table.md", f"{text}\n".encode())
    print(text)
    for line in protocol.perception.left_out:
        print(f"left out: {line}")
    for line in failed.values():
        print(f"skipped: {line}")
    return 1 if failed else 0


def main(words: list[str] | None = None) -> int:
    """Command line."""
    try:
        return run(words)
    except FAILURES as error:
        print(f"ddrm_protocol.py: {one_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
