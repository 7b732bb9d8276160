"""`ddrm-fast evaluate`: restored pictures against clean ones, task by task."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import ddrm_fast

from .. import metrics, restoration
from ..io import OutputError, Panel, check_writable, read_picture, sheet, write_json
from ..operators import Operator
from . import specs
from .errors import FAILURES, one_line
from .inputs import find_inputs
from .sampling import Drawing, add_sampling_options, read_drawing, use_machine
from .tasks import TASKS, degradation, multiples, pad

FORMAT = "ddrm_fast.evaluation/1"


@dataclass(frozen=True)
class Case:
    """A task with its parameters and noise level."""

    task: str
    sigma: float = 0.0
    options: dict[str, str] = field(default_factory=dict)


CASES = {
    "noise-15": Case("noise", 15 / 255),
    "noise-25": Case("noise", 25 / 255),
    "noise-50": Case("noise", 50 / 255),
    "noise-100": Case("noise", 100 / 255),
    "sr2": Case("sr", 0.0, {"factor": "2"}),
    "sr2-noise": Case("sr", 0.05, {"factor": "2"}),
    "sr4": Case("sr", 0.0, {"factor": "4"}),
    "sr4-noise": Case("sr", 0.05, {"factor": "4"}),
    "inpaint-50": Case("inpaint", 0.0, {"mask": "random:0.5"}),
    "blur": Case("blur", 0.05, {"kernel": "uniform:9"}),
    "blur-motion": Case("blur", 0.01, {"kernel": "motion:15,30"}),
    "color": Case("color"),
    "blockcs-25": Case("blockcs", 0.0, {"ratio": "4"}),
}
METHODS = ("input", "bicubic", "pinv", "sample", "mean")
EXAMPLE = """\
example:
  Denoising and super-resolution on five pictures of a folder, central 256 x 256 pixels:

    ddrm-fast evaluate photos/ --cases noise-25,sr4,sr4-noise --limit 5 --crop 256 --out quality.json

  After an interruption, the same line goes on with what is missing.

baselines:
  input     the measurement as it is, where it has the picture's size
  bicubic   a small measurement, enlarged
  pinv      the pseudo-inverse H^+ y
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parser of this command."""
    cases = "\n".join(f"  {describe(name)}" for name in CASES)
    parser = commands.add_parser(
        "evaluate",
        help="PSNR, SSIM and residuals on clean pictures",
        description="Degrade clean pictures, restore them, and compare with simple baselines: "
        "PSNR (dB), SSIM (with scikit-image) and the residual ||y - Hx|| / sqrt(m).",
        epilog=f"cases:\n{cases}\n\n{EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ddrm-fast evaluate PICTURE ... [options]",
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="clean pictures or folders")
    parser.add_argument("--cases", metavar="NAME,...", help="see below (all)")
    parser.add_argument(
        "--crop", default=256, metavar="N", help="central N x N pixels; 0: all (256)"
    )
    parser.add_argument("--limit", metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--out", default="evaluation.json", metavar="FILE", help="(evaluation.json)"
    )
    parser.add_argument("--sheets", metavar="DIR", help="also write a sheet per picture and case")
    add_sampling_options(parser, samples=8)
    parser.set_defaults(run=run)


def describe(name: str) -> str:
    """A case in the words of `ddrm-fast degrade`."""
    case = CASES[name]
    options = "".join(f" --{option} {value}" for option, value in case.options.items())
    return f"{name:13}--task {case.task}{options} --sigma {case.sigma:.4g}"


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; returns the exit status."""
    names = _case_names(arguments.cases)
    crop = specs.whole("--crop", arguments.crop, 0)
    inputs = find_inputs(arguments.inputs, Path(arguments.sheets) if arguments.sheets else None)
    if arguments.limit is not None:
        inputs = inputs[: specs.whole("--limit", arguments.limit)]
    out = Path(arguments.out)
    failed: set[str] = set()
    with use_machine(arguments):
        drawing = read_drawing(arguments)
        record = _open(out, {"crop": crop, **drawing.settings()})
        work = [(item, name) for item in inputs for name in names]
        for item, name in tqdm(work, unit="case", disable=True if arguments.quiet else None):
            if item.name in failed:
                continue
            try:
                picture = read_picture(item.path)
                known = record["results"].setdefault(name, {})
                if known.get(item.name, {}).get("sha256") == picture.sha256:
                    continue
                x = centre(picture.pixels, crop)
                if TASKS[CASES[name].task].grey and x.shape[0] != 3:
                    continue
                panels = [] if arguments.sheets else None
                found = evaluate(CASES[name], x, drawing, panels)
            except FAILURES as error:
                failed.add(item.name)
                tqdm.write(f"ddrm-fast evaluate: {one_line(error, item.path)}", file=sys.stderr)
                continue
            if panels:
                sheet(
                    Path(arguments.sheets) / f"{item.name}-{name}.png",
                    [panels],
                    " ".join(describe(name).split()),
                )
            known[item.name] = {"sha256": picture.sha256, **found}
            write_json(out, record)
    done = {item.name for item in inputs} - failed
    rows = [_row(name, record["results"].get(name, {}), done) for name in names]
    record["table"] = [row for row in rows if row]
    record["ddrm_fast"], record["torch"] = ddrm_fast.__version__, torch.__version__
    write_json(out, record)
    if record["table"]:
        print(table(record["table"], drawing.samples))
    elif not failed:
        raise ValueError("--cases: lost colour needs pictures with colours, all inputs are grey")
    if failed:
        print(
            f"ddrm-fast evaluate: {len(failed)} of {len(inputs)} pictures failed", file=sys.stderr
        )
    return 1 if failed else 0


def evaluate(case: Case, x: Tensor, drawing: Drawing, panels: list[Panel] | None) -> dict:
    """One case on one clean picture (C, H, W): a dictionary of figures. Fills ``panels``."""
    size = tuple(x.shape[1:])
    padded = multiples(case.task, case.options, size)
    shape = (x.shape[0], *padded)
    made = degradation(case.task, case.options, shape, drawing.seed, crop=size)
    operator = made.operator()
    y = restoration.degrade(pad(x, padded)[None], operator, case.sigma, drawing.seed)
    start = time.perf_counter()
    result = drawing.restore(y, operator, case.sigma, x.shape[0])
    seconds = time.perf_counter() - start
    estimates = _baselines(y, operator, shape)
    estimates |= {"sample": result.samples[0], "mean": result.mean}
    figures: dict = {"sigma": case.sigma, "seconds": round(seconds, 2)}
    for method, estimate in estimates.items():
        figures[method] = _figures(estimate[0, :, : size[0], : size[1]], x)
    # over all samples, where one sample alone would be luck
    every = [_figures(s[0, :, : size[0], : size[1]], x) for s in result.samples]
    figures["sample"] = {
        kind: round(statistics.fmean(f[kind] for f in every), 4) for kind in every[0]
    }
    figures["residual"] = {
        "sample": metrics.residual(y, result.samples[0], operator),
        "mean": metrics.residual(y, result.mean, operator),
    }
    if panels is not None:
        for method, estimate in estimates.items():
            if method == "pinv" and figures["pinv"] == figures.get("input"):
                continue
            label = f"{method}\n{figures[method]['psnr']:.2f} dB"
            panels.append(Panel(estimate[0, :, : size[0], : size[1]], label))
        panels.append(Panel(x, "truth\n"))
    return figures


def _baselines(y: Tensor, operator: Operator, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    found = {}
    if tuple(y.shape[1:]) == shape:
        found["input"] = y
    elif y.dim() == 4 and y.shape[1] == shape[0] and y.shape[2] < shape[1]:
        found["bicubic"] = torch.nn.functional.interpolate(
            y, size=shape[1:], mode="bicubic", align_corners=False
        )
    found["pinv"] = operator.H_pinv(y)
    return found


def _figures(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    found = {"psnr": round(min(metrics.psnr(estimate, truth), 200.0), 4)}
    if metrics.has_ssim() and min(truth.shape[1:]) >= 11:
        found["ssim"] = round(metrics.ssim(estimate, truth), 5)
    return found


def centre(x: Tensor, side: int) -> Tensor:
    """The central ``side`` x ``side`` pixels, as far as the picture reaches; 0: all."""
    if side == 0:
        return x
    height, width = (min(side, n) for n in x.shape[1:])
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width].contiguous()


def _case_names(text: str | None) -> list[str]:
    names = list(CASES) if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CASES:
            raise ValueError(f"--cases: got {name!r}, expected some of {', '.join(CASES)}")
    return names


def _open(path: Path, settings: dict) -> dict:
    """The record of an earlier run with the same settings, or a new one."""
    fresh = {"format": FORMAT, "settings": settings, "results": {}}
    if path.is_dir():
        raise OutputError(f"--out: {path} is a folder, expected the name of a .json file")
    check_writable(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["format"] == FORMAT and record["settings"] == settings
        return record if same and isinstance(record["results"], dict) else fresh
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"--out: {path} is there and is not the result of an evaluation; choose another name"
        ) from None


def _row(case: str, results: dict, pictures: set[str]) -> dict | None:
    """Means over the pictures of this run."""
    found = [figures for name, figures in results.items() if name in pictures]
    if not found:
        return None
    row: dict = {"case": case, "pictures": len(found), "sigma": CASES[case].sigma}
    for method in METHODS:
        for kind in ("psnr", "ssim"):
            values = [f[method][kind] for f in found if method in f and kind in f[method]]
            row[f"{kind}_{method}"] = round(statistics.fmean(values), 4) if values else None
    for which in ("sample", "mean"):
        squares = statistics.fmean(f["residual"][which] ** 2 for f in found)
        row[f"residual_{which}"] = round(math.sqrt(squares), 5)
    row["seconds"] = round(sum(f["seconds"] for f in found), 1)
    return row


def table(rows: list[dict], samples: int) -> str:
    """The rows as text: PSNR of the baselines, of one sample and of the mean; SSIM; residual."""
    lines = [
        f"{'':13}{'PSNR, dB':^47}{'':3}{'SSIM':^24}{'':3}{'residual':>17}",
        f"{'case':13}{'input':>9}{'bicubic':>9}{'pinv':>9}{'sample':>9}{f'mean of {samples}':>11}{'':3}"
        f"{'pinv':>8}{'sample':>8}{'mean':>8}{'':3}{'sigma':>9}{'sample':>8}",
    ]
    for row in rows:
        psnr = "".join(_cell(row[f"psnr_{method}"], 9, 2) for method in METHODS[:-1])
        psnr += _cell(row["psnr_mean"], 11, 2)
        ssim = "".join(_cell(row[f"ssim_{method}"], 8, 3) for method in ("pinv", "sample", "mean"))
        lines.append(
            f"{row['case']:13}{psnr}{'':3}{ssim}{'':3}{row['sigma']:9.4f}{row['residual_sample']:8.4f}"
        )
    return "\n".join(lines)


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
