"""`ddrm-fast restore BIG.zarr`: pictures larger than memory, from blocks on disk to blocks on disk."""

from __future__ import annotations

import argparse
import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from ..io import check_writable, write_json
from ..io.blocks import ZARR, BlockPicture, is_block_picture
from ..io.files import in_words
from ..large.memory import bytes_of
from ..large.on_disk import CACHE_SHARE, Report, restore_on_disk, survey
from ..large.work import work_folder
from ..priors.grey import for_channels
from ..problems import noise_floor
from ..problems.regions import Regions, by_regions, regions
from ..registry import TASKS
from . import cluster, results, specs
from .asked import Asked, read_asked, use_machine
from .commands.options import DEFAULT_MEMORY, WINDOW
from .folder import Stages, work_through
from .inputs import Input, options_for, output_folder
from .large import Large, Sides

#: bytes with which nothing can be begun
_LEAST = 2**20
_BITS = {"uint8": 8, "uint16": 16, "float32": 16}
_UNUSABLE = ("truth", "arrays")


def concerns(arguments: argparse.Namespace) -> bool:
    """Whether the inputs are worked on from disk to disk.

    Raises:
        ValueError: Some are and others are not, or an option does not go with them.
    """
    chosen = [
        path
        for path in arguments.inputs
        if Path(path).suffix.lower() == ZARR
        or (arguments.memory is not None and is_block_picture(path))
    ]
    others = [path for path in arguments.inputs if path not in chosen]
    if others and (chosen or arguments.memory is not None or arguments.keep_going):
        raise ValueError(
            f"{others[0]}: is restored in memory; --memory and --keep-going are for pictures on disk, .zarr "
            "or .tif, which are worked on by themselves"
        )
    for name in _UNUSABLE if chosen else ():
        if getattr(arguments, name):
            raise ValueError(f"--{name}: is not for pictures on disk")
    return bool(chosen)


def run(arguments: argparse.Namespace, options: dict[str, str]) -> int:
    """Restore; returns the exit status."""
    known = ", ".join(by_regions())
    if arguments.task is None:
        raise ValueError(f"--task: is needed for pictures on disk; expected {known}")
    if arguments.task not in by_regions():
        raise ValueError(f"--task {arguments.task}: is not for pictures on disk; expected {known}")
    if isinstance(arguments.samples, str) and specs.whole("--samples", arguments.samples) > 1:
        raise ValueError(
            "--samples: of a picture on disk one is drawn; another --seed gives another"
        )
    inputs = [Input(Path(path), Path(path).stem) for path in arguments.inputs]
    out = Path(arguments.out)
    if not is_block_picture(out):
        output_folder(arguments.out, "a name with .zarr or .tif, or a folder")
    elif len(inputs) > 1:
        raise ValueError(f"--out: {out} is for one input, expected a folder")
    twice = [
        target for target, n in Counter(_target(item, out) for item in inputs).items() if n > 1
    ]
    if twice:
        raise ValueError(f"--out: the results of several inputs would have the name {twice[0]}")
    with use_machine(arguments):
        # workers put their copies of the network where they are
        drawing = read_asked(arguments, None if arguments.ray is None else "cpu")
        if drawing.large is not None and (drawing.large.method == "joint" or drawing.large.levels):
            raise ValueError(
                "--large joint, --levels: pictures on disk are restored by mask-shift, in one level"
            )
        work = Stages(
            lambda item: item,
            lambda item: _restore(item, options, arguments, drawing),
            str,
        )
        return work_through("restore", inputs, work, arguments.quiet)


def _level(sigma: str) -> float:
    """A noise level that was given."""
    if sigma == "sensor" or not isinstance(level := specs.noise("--sigma", sigma), float):
        raise ValueError(
            f"--sigma: got {sigma!r}, but from disk to disk all pixels have one noise level; expected a "
            "number, or no --memory"
        )
    return level


def _target(item: Input, out: Path) -> Path:
    """Where the result of an input goes; its record has the same name with .json added."""
    return out if is_block_picture(out) else out / f"{item.name}{item.path.suffix.lower()}"


def _restore(
    item: Input, options: dict[str, str], arguments: argparse.Namespace, drawing: Asked
) -> str:
    """Restore one picture; what to print."""
    memory = _bytes("--memory", arguments.memory or DEFAULT_MEMORY)
    target = _target(item, Path(arguments.out))
    if target.resolve() == item.path.resolve():
        raise ValueError(f"{target}: is the input itself; expected another --out")
    picture = BlockPicture(item.path, max(1, memory // CACHE_SHARE))
    options = options_for(item, options)
    made, record = degradation_of(arguments.task, options, picture)
    known = made.mask if made.factor == 1 else None
    wanted = arguments.sigma in (None, "auto")
    found = survey(picture, arguments.keep_going, wanted, known)
    floor = 0.0 if picture.dtype == "float32" else noise_floor(_BITS[picture.dtype])
    told = found.noise if wanted else _level(arguments.sigma)
    level = floor if told is None else max(floor, told)
    window, stride = _windows(drawing.large, made, picture)
    parameters = {
        "input_sha256": found.sha256,
        "task": arguments.task,
        "task_parameters": {**options, **record},
        "sigma": arguments.sigma,
        "window": window,
        "stride": stride,
        **drawing.settings(),
    }
    earlier = results.earlier(target)
    unfinished = work_folder(target)
    if results.finished(earlier, target, parameters):
        shutil.rmtree(unfinished, ignore_errors=True)  # a kill may have left it
        return f"{item.path} -> {target}  is finished already"
    if target.exists() and earlier is None and not unfinished.exists():
        raise ValueError(
            f"{target}: is there and is no result of `ddrm-fast restore`; expected another --out"
        )
    check_writable(f"{target}.json")
    noise = {"sigma_y": level, "sigma_y_from": "estimated" if wanted else "given"}

    def write_record(report: Report) -> None:
        head = {"format": results.FORMAT, "parameters": parameters, **noise}
        tail = {**results.provenance(drawing.device), "files": [target.name]}
        write_json(f"{target}.json", {**head, **_done(report), **tail})

    start = time.perf_counter()
    channels = 3 if TASKS[arguments.task].grey else picture.channels
    report = restore_on_disk(
        picture,
        target,
        made,
        level,
        for_channels(drawing.prior, channels),
        drawing.sampler,
        sample=drawing.samples is not None,
        window=window,
        stride=stride,
        **({} if drawing.large is None else drawing.large.cutting()),
        memory=memory,
        seed=drawing.seed,
        label=drawing.classes.label,
        guidance=drawing.classes.guidance,
        clip_x0=drawing.clip_x0,
        end_on_measurement=drawing.end_on_measurement,
        edits=drawing.made_edits,
        travel=drawing.travel,
        keep_going=arguments.keep_going,
        surveyed=found,
        parameters=parameters,
        device=drawing.device,
        workers=None if arguments.ray is None else partial(cluster.pool, arguments),
        finished=write_record,
        progress=False if drawing.quiet else None,
    )
    return _said(item, target, report, noise, time.perf_counter() - start)


def _done(report: Report) -> dict[str, Any]:
    """What a record keeps of a run."""
    return {
        "drawn_by": report.sampler,
        "lost": list(report.lost),
        "windows": report.windows,
        "waves": report.waves,
        "resumed_at_wave": report.resumed,
        "megapixels": report.megapixels,
        "seconds": report.seconds,
        "peak_bytes": report.peak_bytes,
    }


def _said(item: Input, target: Path, report: Report, noise: dict[str, Any], seconds: float) -> str:
    """The line that a finished picture is announced with."""
    level, sigma_from = noise.values()
    resumed = f", resumed at wave {report.resumed} of {report.waves}" if report.resumed else ""
    lost = f", {len(report.lost)} blocks were missing" if report.lost else ""
    return (
        f"{item.path} -> {target}  noise {level:.4f} ({sigma_from}), {report.megapixels:.2f} megapixels, "
        f"{seconds:.1f} s, peak memory {in_words(report.peak_bytes)}{resumed}{lost}"
    )


def _windows(
    large: Large | None, made: Regions, picture: BlockPicture
) -> tuple[Sides, Sides | None]:
    """Window and stride: as asked for, else 256 pixels or the picture's sides, and half of that."""
    if large is not None and large.window is not None:
        return large.window, large.stride
    most = max(made.factor, WINDOW - WINDOW % made.factor)
    height, width = (min(most, n * made.factor) for n in picture.size)
    return (height, width), None if large is None else large.stride


def degradation_of(
    name: str, options: dict[str, str], picture: BlockPicture
) -> tuple[Regions, dict[str, Any]]:
    """What happened to a picture on disk, and what else defines it, for the record.

    Raises:
        ValueError: A mask or kernel does not fit, or cannot be read by blocks.
    """
    if TASKS[name].grey and picture.channels != 1:
        raise ValueError(f"{picture.path}: has colours, task {name} on disk expects a grey picture")
    made = regions(name, options, picture.size)
    words = options.get("mask")
    if words is None or not is_block_picture(words):
        return made, {}
    found = survey(BlockPicture(words))
    if found.largest < 0.5:
        raise ValueError(
            f"--mask: {words} measures nothing, its largest value is {found.largest:.4g}, expected white (1) "
            "where pixels are known"
        )
    return made, {"mask_sha256": found.sha256}


def _bytes(option: str, text: str) -> int:
    try:
        found = bytes_of(text)
        if found < _LEAST:
            raise ValueError(f"got {text!r}, expected at least {in_words(_LEAST)}")
        return found
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
