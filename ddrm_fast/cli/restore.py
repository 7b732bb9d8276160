"""`ddrm-fast restore`: restored pictures from degraded ones."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..evaluation.error_bars import error_bars
from ..io import Picture, check_writable, encode, read_picture, write_json
from ..io.files import in_words
from ..large.advice import hint, memory_of
from ..problems import Measured, Problem, has_measurement, read_measured
from ..restoration import Restoration
from ..samplers.doubts import doubts
from ..samplers.plans import Plan
from . import on_disk, pages, restore_model, results, specs
from .asked import Asked, read_asked, task_options, use_machine
from .cluster import share_out
from .folder import Stages, work_through
from .inputs import Input, arrivals, find_inputs, options_for, output_folder, partner


def run(arguments: argparse.Namespace) -> int:
    """Restore; returns the exit status."""
    if arguments.report is not None and (
        arguments.model is not None or arguments.memory is not None
    ):
        raise ValueError("--report: does not go together with --model or --memory")
    if arguments.model is not None:
        return restore_model.run(arguments)
    options = task_options(arguments)
    if arguments.sigma not in (None, "auto", "sensor"):
        specs.noise("--sigma", arguments.sigma)
    if arguments.ray is None and arguments.workers is not None:
        raise ValueError("--workers: belongs to --ray, which is not given")
    if arguments.ray is not None:
        # a wrong option is said once, before workers start; all compute in what this machine chose
        arguments.precision = read_asked(arguments, "cpu").prior.precision_on()
    if on_disk.concerns(arguments):
        return on_disk.run(arguments, options)
    kind = kind_of(arguments)
    out = None if kind.named else output_folder(arguments.out)
    if arguments.watch:
        return _watch(arguments, options, out)
    inputs = find_inputs(arguments.inputs, out, measurements=True)
    if kind.named and (len(inputs) > 1 or Path(arguments.inputs[0]).is_dir()):
        raise ValueError(
            f"--out: got {arguments.out!r}, which ends in {kind.suffix}; expected a folder for the results "
            f"of {len(inputs)} inputs"
        )
    if (
        len(inputs) > 1
        and arguments.task is None
        and not any(has_measurement(item.path) for item in inputs)
    ):
        raise ValueError(
            f"--task: is needed, none of the {len(inputs)} inputs is a measurement file"
        )
    pages.kept("--report", arguments.report)  # a wrong name is said before any work
    if arguments.ray is not None:
        status = share_out("restore", inputs, partial(stages, options, arguments), arguments)
    else:
        with use_machine(arguments):
            status = work_through("restore", inputs, stages(options, arguments), arguments.quiet)
    if arguments.report is not None:
        pages.of_folder(arguments, [(item, target_of(item, arguments)) for item in inputs])
    return status


def _watch(arguments: argparse.Namespace, options: dict[str, str], out: Path | None) -> int:
    """Restore what is in the folders, then what arrives, until somebody ends it."""
    if out is None or not all(Path(folder).is_dir() for folder in arguments.inputs):
        raise ValueError("--watch: expected folders as inputs, and one for --out")
    if arguments.task is None:
        raise ValueError("--task: is needed with --watch")
    for name in ("ray", "report"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--watch: does not go together with --{name}")
    with use_machine(arguments):
        doing = stages(options, arguments)
        for items in arrivals(arguments.inputs, out, quiet=arguments.quiet):
            work_through("restore", items, doing, arguments.quiet)
    return 0  # never: somebody ends it


def stages(options: dict[str, str], arguments: argparse.Namespace) -> Stages:
    """What is done with one input, with the prior read once."""
    drawing = read_asked(arguments)
    return Stages(
        lambda item: _read(item, options, arguments, drawing),
        lambda work: work if isinstance(work, str) else _draw(work),
        lambda work: work if isinstance(work, str) else _write(work, arguments.arrays),
    )


@dataclass
class _Work:
    """One input on its way through the stages: what was read, and what was drawn."""

    item: Input
    target: Path
    kind: results.Kind
    job: Measured
    drawing: Asked
    truth: Picture | None
    parameters: dict[str, Any]
    earlier: dict[str, Any] | None
    plan: Plan | None = None
    result: Restoration | None = None
    seconds: float = 0.0
    threads: int = 0

    @property
    def estimate(self) -> bool:
        """Whether the result is the best estimate, and not drawn."""
        return self.drawing.samples is None and (self.plan is None or not self.plan.drawn)


def _read(
    item: Input, options: dict[str, str], arguments: argparse.Namespace, drawing: Asked
) -> _Work | str:
    """What there is to do for an input; what to print where it is done already."""
    kind = kind_of(arguments)
    target = target_of(item, arguments)
    job = read_measured(item.path, arguments.task, options_for(item, options), arguments.sigma)
    drawing, chosen = drawing.planned(Problem.of(job.y, job.operator, job.noise))
    truth = _truth(item, arguments.truth, job)
    parameters = {
        **job.record,
        "truth": None if truth is None else truth.sha256,
        "sigma": arguments.sigma,
        "arrays": arguments.arrays,
        **({} if kind == results.Kind() else asdict(kind)),
        **drawing.settings(),
    }
    earlier = results.earlier(target)
    if results.finished(earlier, target, parameters):
        return f"{item.path} -> {target}*  is finished already"
    result = target.with_name(f"{target.name}{kind.suffix}")
    if kind.named and result.exists() and (earlier is None or result.name not in earlier["files"]):
        raise ValueError(f"--out: {result} is there and is no result of `ddrm-fast restore`")
    check_writable(f"{target}-uncertainty.png")  # the longest name
    return _Work(item, target, kind, job, drawing, truth, parameters, earlier, chosen)


def target_of(item: Input, arguments: argparse.Namespace) -> Path:
    """Where the results of an input go, without suffix."""
    out = Path(arguments.out)
    return out.with_suffix("") if kind_of(arguments).named else out / item.name


def kind_of(arguments: argparse.Namespace) -> results.Kind:
    """How results are written, as ``--format``, ``--quality`` and the suffix of ``--out`` say.

    Raises:
        ValueError: They do not fit together.
    """
    out = Path(arguments.out)
    named = out.suffix.lower() in encode.FORMATS and not out.is_dir()
    suffix = out.suffix.lower() if named else f".{arguments.format or 'png'}"
    if named and arguments.format is not None and f".{arguments.format}" != suffix:
        raise ValueError(
            f"--format: got {arguments.format}, but --out is {out}; leave out one of them"
        )
    quality = None
    if arguments.quality is not None:
        quality = specs.whole("--quality", arguments.quality, 1, 100)
        if encode.FORMATS[suffix][1] is None:
            raise ValueError(f"--quality: {suffix} has no loss, expected none")
    return results.Kind(suffix, quality, named)


def _truth(item: Input, where: str | None, job: Measured) -> Picture | None:
    """The clean picture to compare with, in the channels of the result."""
    if where is None:
        return None
    file = partner(item, Path(where))
    truth = read_picture(file)
    expected = (job.image_shape[0], *job.crop)
    if tuple(truth.pixels.shape) != expected:
        raise ValueError(
            f"--truth: {file} has (channels, rows, columns) {tuple(truth.pixels.shape)}, "
            f"the restored picture {expected}"
        )
    return truth


def _draw(work: _Work) -> _Work:
    """Restore."""
    start = time.perf_counter()
    job, drawing = work.job.continued(), work.drawing
    advice = None
    if drawing.large is None:
        advice = hint(job.image_shape, drawing.prior, drawing.samples or 1, drawing.device)
    if work.plan is not None and not drawing.quiet:
        tqdm.write(f"{work.item.path}: {work.plan}", file=sys.stderr)
    if advice is not None and not drawing.quiet:
        tqdm.write(f"ddrm-fast restore: {work.item.path}: {advice}", file=sys.stderr)
    if not drawing.quiet and (expected := drawing.expected(job.problem, job.image_shape[0])):
        taken = None
        if drawing.large is None:
            taken = memory_of(job.image_shape, drawing.prior, drawing.samples or 1, drawing.device)
        memory = "" if taken is None else f"; some {in_words(taken)} of memory"
        tqdm.write(f"{work.item.path}: {expected}{memory}", file=sys.stderr)
    result = drawing.restore(job.problem, job.image_shape[0])
    seconds = time.perf_counter() - start
    return replace(work, job=job, result=result, seconds=seconds, threads=torch.get_num_threads())


def _write(work: _Work, arrays: bool) -> str:
    """Write the files of one input; what to print."""
    target, job, result, truth = work.target, work.job, work.result, work.truth
    if result is None:
        raise ValueError(f"{work.item.path}: is not restored yet")
    found = results.measure(job, result, truth)
    files = results.names(target, len(results.drawn(result)), arrays, work.kind, work.estimate)
    results.begin(work.earlier, target, work.parameters, files)
    unsure = doubts(job.problem, work.drawing.prior)
    bars = None
    if len(results.drawn(result)) > 1:
        bars = error_bars(result, job.problem, work.drawing.prior)
    results.write(target, job, result, truth, found, arrays, work.kind, work.estimate, bars)
    record = {
        "format": results.FORMAT,
        "parameters": work.parameters,
        "operator": repr(job.operator),
        "sigma_y": job.sigma_y,
        **({} if job.law is None else {"law": str(job.law)}),
        "sigma_y_from": job.sigma_from,
        **found,
        **({"doubts": unsure} if unsure else {}),
        **({"prior_notes": list(notes)} if (notes := work.drawing.prior.notes) else {}),
        "seconds": round(work.seconds, 3),
        **results.provenance(work.drawing.device),
        "threads": work.threads,
        "files": files,
    }
    write_json(f"{target}.json", record)
    residual = found["residual"]["samples"][0]
    what = "estimate" if work.estimate else "mean"
    quality = f", {what} {found['psnr']['mean']} dB" if truth is not None else ""
    return (
        f"{work.item.path} -> {target}*  {job.noise_said}, "
        f"residual {residual:.4f}{quality}, {work.seconds:.1f} s"
    )
