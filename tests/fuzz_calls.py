"""Calls of everything public with a wrong argument or two; seeded.

What must come of each: a finite result, or an error that names the argument. By hand:

    python tests/fuzz_calls.py 10000 [SEED]
"""

from __future__ import annotations

import collections
import inspect
import random
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ddrm_fast
from ddrm_fast import DDRM, Drawing, Problem, Travel, operators, ops, priors, samplers
from ddrm_fast.evaluation import metrics
from ddrm_fast.large import restore_windows
from ddrm_fast.problems import degradation
from ddrm_fast.problems import noise as noises
from ddrm_fast.samplers import Clip, Steps, parse_steps
from ddrm_fast.training.data.crops import CropConfig
from ddrm_fast.training.fit import Fit


def anything(*_, **__):
    """A function in the place of something else; where one belongs, it is a right one."""


#: whoever raises these says what was wrong
TOLD = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


@dataclass
class Door:
    """A public function with good arguments by name.

    Args:
        name:
            For people.
        call:
            Takes keywords.
        good:
            Makes them anew.
        also:
            Other names that a message may have.
        linear:
            NaN goes through it.
    """

    name: str
    call: Callable[..., Any]
    good: Callable[[], dict[str, Any]]
    also: tuple[str, ...] = ()
    linear: bool = False


def picture(*shape: int) -> Tensor:
    return torch.rand(*(shape or (1, 3, 8, 8)), generator=torch.Generator().manual_seed(1))


def prior() -> priors.Prior:
    return ddrm_fast.load_prior("gaussian")


def _operators() -> Iterator[Door]:
    mask = torch.ones(8, 8)
    mask[2, 3] = 0
    square = torch.eye(12, 192)
    goods: dict[str, dict[str, Any]] = {
        "SuperResolution": {"factor": 2, "rcond": 1e-3},
        "Colorization": {"weights": (0.3, 0.4, 0.3)},
        "Blur": {"kernel": operators.gaussian_kernel(1.0), "boundary": "periodic", "rcond": 1e-3},
        "BlurDecimate": {"kernel": operators.gaussian_kernel(1.0), "factor": 2},
        "BicubicDownscaling": {"factor": 2},
        "Inpainting": {"mask": mask},
        "Gain": {"gain": mask + 0.5, "rcond": 1e-3},
        "WalshHadamardCS": {"size": (8, 8), "kept": torch.arange(16)},
        "BlockCS": {"block": 4, "keep": 4, "seed": 3},
        "GeneralOperator": {"matrix": square, "image_shape": (3, 8, 8)},
        "SeparableBlur": {"kernel": torch.tensor([0.25, 0.5, 0.25])},
        "Denoising": {},
        "JPEG": {"quality": 30, "subsampling": "4:2:0", "top": 0, "left": 3},
        "Quantised": {"bits": 3, "dither": True, "seed": 2},
        "Saturated": {"gain": 2.0},
        "Gamma": {"gamma": 2.2},
        "PhaseRetrieval": {"oversample": 1.0, "pad": 2},
        "NetworkBlur": {"network": torch.sin, "scale": 1.0, "seed": 3},
    }
    for name, good in goods.items():
        made = getattr(operators, name)
        known = inspect.signature(made).parameters
        kept = {key: value for key, value in good.items() if key in known}
        yield Door(f"operators.{name}", made, lambda kept=kept: dict(kept))
    yield Door("gaussian_kernel", operators.gaussian_kernel, lambda: {"sigma": 1.0})
    yield Door("motion_kernel", operators.motion_kernel, lambda: {"length": 5, "angle": 30.0})
    shake = {"size": 5, "intensity": 0.5, "seed": 1}
    yield Door("shake_kernel", operators.shake_kernel, lambda: dict(shake))
    yield Door("JPEG.H", operators.JPEG(30).H, lambda: {"x": picture()}, linear=True)
    yield Door(
        "bayer_mask", operators.bayer_mask, lambda: {"height": 8, "width": 8, "pattern": "RGGB"}
    )
    for name in ("H", "Ht", "H_pinv", "V", "Vt", "U", "Ut"):
        operator = operators.SuperResolution(2)
        argument = next(iter(inspect.signature(getattr(operator, name)).parameters))
        side = 4 if name in ("Ht", "H_pinv", "U", "Ut") else 8
        yield Door(
            f"SuperResolution.{name}", getattr(operator, name),
            lambda argument=argument, side=side: {argument: picture(1, 3, side, side)}, linear=True,
        )  # fmt: skip


def _samplers() -> Iterator[Door]:
    for name in samplers.__all__:
        made = getattr(samplers, name)
        if inspect.isclass(made) and is_dataclass(made) and hasattr(made, "weights"):
            good = {field.name: getattr(made(), field.name) for field in fields(made) if field.init}
            yield Door(f"samplers.{name}", made, lambda good=good: dict(good))
    yield Door("Steps", Steps, lambda: {"kind": "karras", "count": 4, "start": 1.0, "end": 0.01})
    yield Door("parse_steps", parse_steps, lambda: {"text": "karras:4:1:0.01"}, ("steps",))
    yield Door("Travel", Travel, lambda: {"length": 2, "repeat": 2})
    yield Door("Clip", Clip, lambda: {"low": 0.0, "high": 1.0})


def _faces() -> Iterator[Door]:
    def restoring() -> dict[str, Any]:
        return {
            "y": picture(1, 3, 4, 4), "operator": operators.SuperResolution(2), "sigma_y": 0.05,
            "prior": prior(), "sampler": DDRM(2), "num_samples": 2, "seed": 3, "batch_size": 1,
            "holds": (), "edits": (), "travel": None, "known": None, "labels": None, "guidance": None,
            "clip_x0": False, "origin": (0, 0), "callback": None, "progress": False, "keep_samples": True,
            "end_on_measurement": False, "precision": None,
        }  # fmt: skip

    yield Door("restore", _only(ddrm_fast.restore), restoring)
    yield Door(
        "restore_windows", _only(restore_windows),
        lambda: {**restoring(), "window": 4, "stride": 2, "order": "rows", "batch": 1, "levels": 0,
                 "factor": 2, "gradient": 0.01},
    )  # fmt: skip
    yield Door(
        "degrade", _only(ddrm_fast.degrade),
        lambda: {"x": picture(), "operator": operators.SuperResolution(2), "sigma_y": 0.1, "seed": 2},
    )  # fmt: skip
    yield Door(
        "sample", _only(ddrm_fast.sample),
        lambda: {"prior": prior(), "shape": (1, 3, 8, 8), "sampler": samplers.DDIM(2), "seed": 1},
    )  # fmt: skip
    yield Door(
        "Problem.of", Problem.of,
        lambda: {"y": picture(1, 3, 4, 4), "operator": operators.SuperResolution(2), "sigma_y": 0.05},
    )  # fmt: skip
    yield Door(
        "draw", ddrm_fast.draw,
        lambda: {"problem": Problem.of(picture(), operators.Denoising(), 0.1),
                 "drawing": Drawing(prior(), DDRM(2)), "keep_samples": True, "origin": (0, 0)},
    )  # fmt: skip
    yield Door(
        "load_prior", ddrm_fast.load_prior, lambda: {"name_or_path": "gaussian", "config": None},
        ("prior",),
    )  # fmt: skip
    for make in ("linear", "cosine", "quadratic", "sigmoid", "jsd", "constant"):
        made = getattr(priors.Schedule, make)
        good = {"T": 10} if "T" in inspect.signature(made).parameters else {}
        yield Door(f"Schedule.{make}", made, lambda good=good: dict(good))
    schedule = priors.Schedule.linear(20)
    for name in ("abar", "sigma"):
        yield Door(f"Schedule.{name}", getattr(schedule, name), lambda: {"t": 3})
    yield Door("Schedule.timestep", schedule.timestep, lambda: {"sigma": 0.5})
    yield Door("Schedule.from_betas", priors.Schedule.from_betas, lambda: {"betas": [0.1, 0.2]})
    yield Door(
        "degradation", degradation,
        lambda: {"task": "sr", "shape": (3, 8, 8), "options": {"factor": "2"}, "seed": 0},
        ("factor",),
    )  # fmt: skip
    yield Door("residual", metrics.residual,
               lambda: {"y": picture(), "x": picture(), "operator": operators.Denoising()},
               linear=True)  # fmt: skip
    yield Door("noise_keys", ops.noise_keys, lambda: {"batch": 2, "seed": 3, "origin": (0, 0)})
    yield Door("psnr", metrics.psnr, lambda: {"estimate": picture(), "truth": picture()})
    yield Door("estimate_noise", noises.estimate_noise, lambda: {"x": picture(3, 32, 32)})
    yield Door("Fit", Fit, lambda: {f.name: f.default for f in fields(Fit)})
    yield Door("CropConfig", CropConfig, lambda: {f.name: f.default for f in fields(CropConfig)})


def _only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without the keywords that it does not have."""
    known = inspect.signature(function).parameters

    def call(**keywords: Any) -> Any:
        return function(**{name: value for name, value in keywords.items() if name in known})

    return call


def doors() -> list[Door]:
    """Everything that is called."""
    return [*_operators(), *_samplers(), *_faces()]


def wrong(good: Any, rng: random.Random) -> Any:
    """A value of another kind, or out of range."""
    pool: list[Callable[[], Any]] = [
        lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 2**70, lambda: 1.5,
        lambda: float("nan"), lambda: float("inf"), lambda: -1e300, lambda: "x", lambda: "", lambda: b"x",
        list, lambda: [1], lambda: (4, 4), lambda: (0.5, 0.5), dict, object, lambda: anything, lambda: DDRM,
        lambda: torch.tensor(0.5), lambda: torch.rand(0), lambda: torch.rand(0, 3, 8, 8),
        lambda: torch.arange(6), lambda: torch.rand(1, 3, 8, 8) * 1j, lambda: torch.rand(2, 2) > 0.5,
        lambda: torch.full((1, 3, 8, 8), float("nan")),
        lambda: torch.full((8, 8), 1e300, dtype=torch.float64),
        lambda: np.ones((8, 8)), lambda: np.float64(0.5), lambda: 3, lambda: 0.3, lambda: "rows",
        lambda: picture(2, 3, 8, 8), lambda: operators.Denoising(),
    ]  # fmt: skip
    if isinstance(good, Tensor) and rng.random() < 0.3:
        pool = [
            lambda: good[..., :-1], lambda: good[None], lambda: good.double(),
            lambda: good.to(torch.complex64),
            lambda: good * float("nan"), lambda: good * 1e30, lambda: good[:0], lambda: good.tolist(),
            lambda: good.numpy(), lambda: good.int(),
        ]  # fmt: skip
    return rng.choice(pool)()


def finite(result: Any) -> bool:
    """Whether there is no silent NaN in a result."""
    if isinstance(result, Tensor):
        return not result.is_floating_point() or bool(torch.isfinite(result).all())
    if is_dataclass(result) and hasattr(result, "mean"):
        return finite(result.mean)
    return not (isinstance(result, float) and result != result)


def outcome(door: Door, arguments: dict[str, Any], changed: list[str]) -> str:
    """ "" where it is right, else what leaked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = door.call(**arguments)
    except TOLD as error:
        said = str(error)
        names = [*arguments, *door.also]
        named = any(re.search(rf"\b{re.escape(name)}\b", said) for name in names)
        # (a sampler's class as an operator: Python itself names the argument that lacks)
        if named or "argument" in said and "missing" in said:
            return ""
        return _where(error)
    except Exception as error:
        return _where(error)
    return "" if door.linear or finite(result) else f"{door.name}: NaN for {', '.join(changed)}"


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "ddrm_fast" in f.filename]
    last = frames[-1] if frames else None
    place = f"{last.filename.rpartition('ddrm_fast/')[2]}:{last.lineno}" if last else "?"
    return (
        f"{place}: {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
    )


def fuzz(count: int, seed: int = 0) -> tuple[collections.Counter[str], dict[str, str], int]:
    """Leaks with how often each came, an example of each, and how many calls succeeded."""
    rng, all_doors = random.Random(seed), doors()
    leaks: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    good = 0
    for number in range(count):
        door = all_doors[number % len(all_doors)]
        torch.manual_seed(seed * 1_000_003 + number)
        arguments = door.good()
        names = rng.sample(sorted(arguments), min(len(arguments), rng.choice((0, 1, 1, 1, 2))))
        for name in names:
            arguments[name] = wrong(arguments[name], rng)
        found = outcome(door, arguments, names)
        good += not found
        if found:
            leaks[found] += 1
            shown = ", ".join(f"{name}={_short(arguments[name])}" for name in names)
            examples.setdefault(found, f"{door.name}({shown})")
    return leaks, examples, good


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor{tuple(value.shape)} {value.dtype}"
    return repr(value)[:60]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    leaks, examples, good = fuzz(count, seed)
    for leak, times in leaks.most_common():
        print(f"{times:5} {leak}\n        {examples[leak]}")
    print(f"{count} calls, {good} right, {len(leaks)} leaks at as many places")
    return bool(leaks)


if __name__ == "__main__":
    raise SystemExit(main())
