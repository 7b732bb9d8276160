"""The published DPS loop, on this package's fused steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...io import Picture, write_picture
from ...operators import Forward
from ...operators.base import Shape
from ...priors import Prior, Schedule
from ...problems import Problem
from ...samplers import DDIM as DDIMWeights
from ...samplers import DDPM as DDPMWeights
from ...samplers import run
from ...samplers.edits import Edit
from ...samplers.edits.learned_noise import LearnedNoise
from ...samplers.state import State
from ...samplers.weights import Weights
from ..loop import GivenNoise, Randomness, check_state
from .names import Names
from .process import Model, SpacedDiffusion, get_named_beta_schedule, space_timesteps

_SAMPLERS = Names("sampler")
register_sampler = _SAMPLERS.register

Conditioning = Callable[..., tuple[Tensor, Tensor]]


def create_sampler(
    sampler: str,
    steps: int,
    noise_schedule: str,
    model_mean_type: str,
    model_var_type: str,
    dynamic_threshold: bool,
    clip_denoised: bool,
    rescale_timesteps: bool,
    timestep_respacing: Any = "",
    **more: Any,
) -> Any:
    """A sampler from a diffusion configuration; its arguments are the published entries.

    Args:
        sampler:
            "ddpm" or "ddim".
        steps:
            N of the process that the network was trained on.
        noise_schedule:
            "linear" or "cosine".
        model_mean_type, model_var_type, dynamic_threshold, clip_denoised, rescale_timesteps:
            See :class:`SpacedDiffusion`.
        timestep_respacing:
            See :func:`space_timesteps`; "": all.
        more:
            ``corrected=True`` (:class:`SpacedDiffusion`), of "ddim" ``eta`` (0, as the published loop has
            it).
    """
    betas = get_named_beta_schedule(noise_schedule, steps)
    return _SAMPLERS.make(
        sampler,
        use_timesteps=space_timesteps(steps, timestep_respacing or [steps]),
        betas=betas,
        model_mean_type=model_mean_type,
        model_var_type=model_var_type,
        dynamic_threshold=dynamic_threshold,
        clip_denoised=clip_denoised,
        rescale_timesteps=rescale_timesteps,
        **more,
    )


class _Sampler(SpacedDiffusion, ABC):
    """What both samplers share."""

    @property
    def clips_late(self) -> bool:
        """The step is made of the clean image before it is clipped: a network of x_(t-1) says its mean."""
        return False

    @abstractmethod
    def weights(self) -> Any:
        """The affine update of a step, as the engine's samplers have it."""

    def p_sample_loop(
        self,
        model: Model,
        x_start: Tensor,
        measurement: Tensor,
        measurement_cond_fn: Conditioning,
        record: bool = False,
        save_root: str | Path | None = None,
        *,
        noise: GivenNoise | None = None,
        measurement_noise: GivenNoise | None = None,
        callback: Callable[[State], None] | None = None,
        progress: bool = True,
    ) -> Tensor:
        """Draws pictures that follow a measurement.

        Args:
            model:
                ``(x, t) -> (B, C or 2 C, H, W)``.
            x_start:
                White noise (B, C, H, W), any batch (one, in the published loop).
            measurement:
                Of pictures in [-1, 1].
            measurement_cond_fn:
                ``(x_t=, measurement=, noisy_measurement=, x_prev=, x_0_hat=) -> (state, distance)``: the
                ``conditioning`` of a method, alone or in a ``functools.partial``, or your own.
            record:
                Write every tenth state to ``save_root/progress``, from its least to its largest value.
            noise:
                ``step -> white noise (B, C, H, W)``; otherwise the kernel's own, with a seed from torch's
                global generator.
            measurement_noise:
                ``step -> white noise of the measurement's shape`` for ``noisy_measurement``; otherwise from
                torch's global generator.
            callback:
                Called after each step.
            progress:
                Show a bar with the distance.

        Returns:
            (B, C, H, W) in [-1, 1].
        """
        x_start = check_state(x_start).detach()
        random = Randomness(noise, x_start)
        conditioned = _Conditioned(self, measurement_cond_fn, measurement, measurement_noise)
        steps = self.timestep_map[::-1]
        raw = self.model_mean_type == "epsilon" and not self.dynamic_threshold
        prior = Prior(
            _Network(self, model, raw),
            "eps" if raw else "x0",
            Schedule(torch.from_numpy(self.original_alphas_cumprod)),
        )
        folder = None
        if record:
            if save_root is None:
                raise ValueError("save_root: expected a folder to record in, got None")
            folder = Path(save_root) / "progress"
        bar = tqdm(total=len(steps), disable=not progress)

        def after(state: State) -> None:
            bar.update()
            bar.set_postfix({"distance": conditioned.distance}, refresh=False)
            index = len(steps) - 1 - state.index
            if folder is not None and index % 10 == 0:
                write_picture(folder / f"x_{index:04}.png", Picture(stretched(state.x_next)))
            if callback is not None:
                callback(state)

        with bar:
            return run(
                _Anything(tuple(x_start.shape[1:])), prior, _Follows(steps, self.weights(), conditioned),
                x_start.new_zeros(1, *x_start.shape[1:]), torch.zeros(1, dtype=torch.float64),
                random.keys, clip=(-1.0, 1.0) if raw and self.clip_denoised else None,
                callback=after, noise=lambda k: x_start if k == 0 else random.pixels(k - 1),
            )  # fmt: skip

    @abstractmethod
    def p_sample(self, model: Model, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """One step without a measurement: "sample" and "pred_xstart"."""


@register_sampler("ddpm")
class DDPM(_Sampler):
    """Ancestral sampling."""

    @property
    def clips_late(self) -> bool:
        return self.model_mean_type == "previous_x"

    def weights(self) -> Any:
        variance = {"fixed_small": "small", "fixed_large": "large"}.get(
            self.model_var_type, "learned"
        )
        return DDPMWeights(variance=variance)

    def p_sample(self, model: Model, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        found = self.p_mean_variance(model, x, t)
        noise = torch.randn_like(x) * (t != 0).view(-1, 1, 1, 1)
        std = torch.where((t != 0).view(-1, 1, 1, 1), (0.5 * found["log_variance"]).exp(), 0.0)
        return {"sample": found["mean"] + std * noise, "pred_xstart": found["pred_xstart"]}


@register_sampler("ddim")
class DDIM(_Sampler):
    """Song, Meng, Ermon, ICLR 2021.

    Args:
        eta:
            Share of fresh noise; the published loop never sets it.
        settings:
            See :class:`SpacedDiffusion`.
    """

    def __init__(self, *, eta: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.eta = eta

    def weights(self) -> Any:
        return DDIMWeights(eta=self.eta)

    def p_sample(
        self, model: Model, x: Tensor, t: Tensor, eta: float | None = None
    ) -> dict[str, Tensor]:
        found = self.p_mean_variance(model, x, t)
        x0, eta = found["pred_xstart"], self.eta if eta is None else eta
        abar = torch.from_numpy(self.alphas_cumprod)[t.cpu()].view(-1, 1, 1, 1)
        before = torch.from_numpy(self.alphas_cumprod_prev)[t.cpu()].view(-1, 1, 1, 1)
        variance = eta**2 * (1 - before) / (1 - abar) * (1 - abar / before)
        eps = (x - abar.sqrt().to(x) * x0) / (1 - abar).sqrt().to(x)
        mean = before.sqrt().to(x) * x0 + (1 - before - variance).clamp(min=0).sqrt().to(x) * eps
        noise = torch.randn_like(x) * (t != 0).view(-1, 1, 1, 1)
        return {"sample": mean + variance.sqrt().to(x) * noise, "pred_xstart": x0}


class _Anything(Forward):
    """Says which shape the pictures have; the conditioning method knows the degradation."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def image_shape(self, y: Tensor) -> Shape:
        return self.shape

    def check_image(self, shape: Shape) -> None:
        pass

    def H(self, x: Tensor) -> Tensor:
        return x


class _Network:
    """The network as the engine calls it; unless its own output will do, that of clean images."""

    def __init__(self, process: _Sampler, model: Model, raw: bool) -> None:
        self.process, self.model, self.raw = process, model, raw
        self.index = {t: i for i, t in enumerate(process.timestep_map)}

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        process = self.process
        steps = torch.tensor([self.index[round(t)] for t in times.tolist()], device=x.device)
        out = self.model(x, process.model_times(steps))
        if self.raw:
            return out
        channels = x.shape[1]
        x0 = process.predict_xstart(x, steps, out[:, :channels])
        if not process.clips_late:
            x0 = process.process_xstart(x0)
        return torch.cat((x0, out[:, channels:]), dim=1)


class _LogVariance(LearnedNoise):
    """Noise whose logarithm of the variance is the network's output itself."""

    def __init__(self) -> None:
        super().__init__(lambda abar, abar_next: (-1.0, 1.0))  # share 0 is -1 there, 1 is 1


@dataclass(frozen=True)
class _Follows:
    """A published sampler's update, and what follows it."""

    needs: ClassVar[type[Forward]] = Forward

    steps: list[int]
    update: Any
    conditioned: _Conditioned

    def start(self, abar: float, sigma_y: Tensor) -> Weights:
        return self.update.start(abar, sigma_y)

    def weights(self, abar: float, abar_next: float, sigma_y: Tensor) -> Weights:
        return self.update.weights(abar, abar_next, sigma_y)

    def edits(self) -> list[Edit]:
        brought = self.update.edits() if hasattr(self.update, "edits") else []
        if brought and self.conditioned.process.model_var_type == "learned":
            brought = [_LogVariance()]
        return [*brought, self.conditioned]


class _Conditioned(Edit):
    """The conditioning method, after the step."""

    keeps_graph = True
    title = "measurement_cond_fn"

    def __init__(
        self,
        process: _Sampler,
        function: Conditioning,
        measurement: Tensor,
        noise: GivenNoise | None,
    ) -> None:
        self.process, self.function, self.noise = process, function, noise
        self.measurement = measurement.detach()
        self.distance = 0.0

    def after(self, problem: Problem, state: State) -> Tensor:
        assert state.graph is not None
        x_prev, x_0_hat = state.graph
        if self.process.clips_late:
            with torch.enable_grad():
                x_0_hat = self.process.process_xstart(x_0_hat)
        # corrected: that of the new state, which belongs to the step below
        abar = state.abar_next if self.process.corrected else state.abar
        z = self._noise(state.index)
        noisy = abar**0.5 * self.measurement + (1 - abar) ** 0.5 * z
        with torch.enable_grad():  # as the published loop runs
            found, distance = self.function(
                x_t=state.x_next, measurement=self.measurement, noisy_measurement=noisy,
                x_prev=x_prev, x_0_hat=x_0_hat,
            )  # fmt: skip
        self.distance = round(float(torch.as_tensor(distance).detach().norm()), 4)
        return found.detach()

    def _noise(self, step: int) -> Tensor:
        if self.noise is None:
            return torch.randn_like(self.measurement)
        return self.noise(step).to(self.measurement)


def clear_color(x: Tensor) -> np.ndarray:
    """A picture (1, C, H, W) for ``plt.imsave``, (H, W, C), stretched from its least to its largest value."""
    x = x.abs() if x.is_complex() else x
    return stretched(x.reshape(1, *x.shape[-3:])).permute(1, 2, 0).numpy()


def stretched(x: Tensor) -> Tensor:
    """The first picture of a batch, (C, H, W), from its least to its largest value, as published."""
    x = x[0].detach().float().cpu()
    x = x - x.min()
    return x / x.max().clamp(min=1e-12)
