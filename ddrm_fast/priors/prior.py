"""A prior: a network, what it predicts, and the schedule that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .as_denoiser import AsDenoiser
from .checkpointing import checkpointed
from .precision import DTYPES, check_precision, fastest_precision
from .prediction import prediction_row
from .schedule import Schedule
from .source import Source


@dataclass
class Prior:
    """A diffusion model of images in [-1, 1].

    Args:
        network:
            ``(x_t, t[, labels]) -> output``: x_t (B, C, H, W) float32, t float32 [B] (timesteps 0 .. T - 1,
            whole numbers unless ``fractional``), output (B, C or more, H, W); channels behind the first C
            (variances) are not read.
        prediction:
            What the output is: "eps" (noise), "x0" (clean image) or "v" (velocity).
        schedule:
            The noise schedule; default: linear betas 1e-4 .. 2e-2, T = 1000.
        channels:
            C where the network is made for a certain number, else None.
        name:
            For messages and records.
        dtype:
            What the state is converted to before it is fed to the network (float16, bfloat16, float32);
            None: as it is.
        num_classes:
            Classes of a conditional network, which then wants labels; None: not known, or none.
        precision:
            What the network computes in, through ``torch.autocast``: "float32" (as it is), "bfloat16",
            "float16", or "auto": bfloat16 on processors with instructions for it, if a check of this
            network allows (:mod:`.precision`). Concerns calls of the prior, not of ``network`` itself.
        module:
            What holds the weights, for :meth:`to`; None: ``network``, if it is a Module.
        channels_last:
            Whether the network gets x_t in channels-last memory; :meth:`arrange` puts its weights there too.
        fractional:
            Whether the network takes any t from ``timestep(sigma_min)`` to T - 1, not whole numbers alone.
        sigma_min:
            The lowest noise level that the network knows, in the unit of [-1, 1] pictures; None: that of
            timestep 0. Below it :meth:`denoise` keeps the score of this level.
        notes:
            What was decided when it was read from a file, a sentence each: which of two sets of weights it
            has, for instance.
    """

    network: Callable[..., Tensor]
    prediction: str = "eps"
    schedule: Schedule = field(default_factory=Schedule.linear)
    channels: int | None = None
    name: str = "custom"
    dtype: torch.dtype | None = None
    num_classes: int | None = None
    precision: str = "float32"
    module: torch.nn.Module | None = None
    channels_last: bool = False
    fractional: bool = False
    sigma_min: float | None = None
    notes: tuple[str, ...] = ()
    #: gradients through the network keep no more than the inputs of its blocks, and compute these twice
    checkpointing: bool = field(default=False, init=False)
    #: what :func:`~ddrm_fast.load_prior` read it from; None: made in memory, or around another network
    source: Source | None = field(default=None, init=False, repr=False, compare=False)
    _fastest: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.module is None and isinstance(self.network, torch.nn.Module):
            self.module = self.network
        prediction_row(self.prediction, 0.5)
        if not callable(self.network):
            raise ValueError(f"network: expected a callable, got {type(self.network).__name__}")

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output for whole timesteps.

        A prior is no denoiser: what looks like a noise level in the place of t is refused.

        Args:
            x_t:
                State (B, C, H, W): sqrt(abar_t) times a picture in [-1, 1], plus noise.
            t:
                Timesteps [B] or [1], whole numbers from 0 to T - 1. (:meth:`at` takes those between.)
            labels:
                Classes [B].

        Returns:
            (B, C or more, H, W), what ``prediction`` says.

        Raises:
            ValueError: t is none of these, or the output does not have x_t's shape (or more channels).
        """
        self._check_timesteps(x_t, t)
        return self.at(x_t, t, labels)

    def _check_timesteps(self, x_t: Tensor, t: Tensor) -> None:
        last = self.schedule.T - 1
        expected = f"t: expected timesteps [{len(x_t)}], whole numbers from 0 to {last}"
        advice = "for a noise level call prior.denoise(x, sigma)"
        if not isinstance(t, Tensor) or tuple(t.shape) not in ((1,), (len(x_t),)):
            got = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else repr(t)
            raise ValueError(f"{expected}, got {got}; {advice}")
        if t.device.type != "cpu" or torch.compiler.is_compiling():
            return  # reading them would wait for the device
        if not ((t >= 0) & (t <= last) & (t == t.round())).all():
            raise ValueError(f"{expected}, got {t.tolist()}; {advice}, between timesteps prior.at")

    def at(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """As a call, for timesteps that are not whole too if the prior is ``fractional``; t is not checked.

        The sampling loops' door: nothing is read back from the device.

        Raises:
            ValueError: the output does not have x_t's shape (or more channels).
        """
        x = x_t if self.dtype is None else x_t.to(self.dtype)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with checkpointed(self.module if self.checkpointing else None):
            out = self._cast(self.network, x, t, *(() if labels is None else (labels,)))
        if not isinstance(out, Tensor):
            raise ValueError(f"network: expected a tensor as output, got {type(out).__name__}")
        shape = tuple(x_t.shape)
        if (
            out.dim() != 4
            or out.shape[0] != shape[0]
            or out.shape[1] < shape[1]
            or tuple(out.shape[2:]) != shape[2:]
        ):
            raise ValueError(
                f"network: expected an output of shape {shape} (or more channels), "
                f"got {tuple(out.shape)}"
            )
        return out

    def to(self, device: torch.device | str) -> Prior:
        """Moves the weights, as ``torch.nn.Module.to`` does; returns the prior itself.

        A network of which only a function is known has to be moved by whoever made it.
        """
        if self.module is not None:
            self.module.to(device)
        return self

    def arrange(self, channels_last: bool = True) -> Prior:
        """Puts the weights into channels-last memory, or back into planes, and x_t too.

        Returns the prior itself. Other priors around the same weights find them rearranged as well:
        their outputs change by rounding.

        Raises:
            ValueError: it is not known what holds the weights.
        """
        if self.module is None:
            name = type(self.network).__name__
            raise ValueError(f"channels_last: needs a network that is a Module, got a {name}")
        layout = torch.channels_last if channels_last else torch.contiguous_format
        # (which the types of Module.to leave out)
        self.module.to(memory_format=layout)  # type: ignore[call-overload]
        self.channels_last = channels_last
        return self

    def precision_on(self, device: torch.device | str = "cpu") -> str:
        """What the network computes in on this device: "float32", "bfloat16" or "float16"."""
        if self.precision != "auto":
            return check_precision(self.precision)
        device = torch.device(device)
        if device.type not in self._fastest:
            channels = self.channels or 3
            self._fastest[device.type] = fastest_precision(self._denoise_in, channels, device)
        return self._fastest[device.type]

    def _denoise_in(self, precision: str, x: Tensor, sigma: float) -> Tensor:
        """:meth:`denoise` in a number format."""
        other = copy(self)
        other.precision = precision
        labels = None if self.num_classes is None else torch.zeros(len(x), dtype=torch.int64)
        return other.denoise(x, sigma, labels)

    def in_float32(self, device: torch.device | str = "cpu") -> Prior | None:
        """The same prior in float32 where it computes in half precision on this device; else None."""
        if self.precision_on(device) == "float32":
            return None
        exact = copy(self)
        exact.precision = "float32"
        return exact

    def _cast(self, function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
        dtype = DTYPES[self.precision_on(x.device)]
        if dtype is None:
            return function(x, *others)
        with torch.autocast(x.device.type, dtype):
            return function(x, *others)

    def guidance_factor(self, t: float) -> float:
        """What a gradient of log p is multiplied by before it is added to the network's output.

        eps changes by -sqrt(1 - abar) gradient; the output by that over d eps / d out.
        """
        abar = self.schedule.abar(t)
        if abar == 0:
            raise ValueError(
                f"guidance: the state holds nothing of the image at timestep {t}, where abar is 0"
            )
        return -math.sqrt(1 - abar) / prediction_row(self.prediction, abar)[3]

    def timestep(self, sigma: float) -> float:
        """Where the network is asked for a noise level: the t with this sigma, whole unless ``fractional``.

        Levels outside :attr:`sigma_range` give its ends.

        Args:
            sigma:
                In the unit of [-1, 1] pictures, 0 or more.

        Raises:
            ValueError: sigma is negative or no number.
        """
        if not sigma >= 0:
            raise ValueError(f"sigma: expected a noise level of 0 or more, got {sigma}")
        t = self.schedule.timestep(max(sigma, self.sigma_range[0]))
        if self.fractional:
            return t
        first = max(0, math.floor(t))
        if t <= first:
            return first
        low, high = (self.schedule.sigma(k) for k in (first, first + 1))
        return first + int(low == 0 or t - first > 0.5)  # the nearest logarithm

    def steps(self, steps: int | Sequence[float], *, from_pure_noise: bool = False) -> list[float]:
        """The timesteps that a sampler visits: :meth:`Schedule.steps`, for what this network takes.

        Args:
            steps:
                A number of steps, or the timesteps; they need not be whole if the prior is ``fractional``.
            from_pure_noise:
                Allow abar = 0 at the first of them.

        Raises:
            ValueError: as :meth:`Schedule.steps`.
        """
        lowest = self.timestep(0.0) if self.fractional else None
        if lowest == -1:  # a network for every level; the clean image itself is no step
            lowest = math.nextafter(-1, 0)
        return self.schedule.steps(steps, from_pure_noise=from_pure_noise, lowest=lowest)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The lowest and the highest noise level that the network knows, [-1, 1] unit."""
        known = ((1 - self.schedule.alphas_cumprod) / self.schedule.alphas_cumprod).sqrt()
        low = float(known[0]) if self.sigma_min is None else self.sigma_min
        return low, float(known[known.isfinite()][-1])

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """Clean image from ``x`` = image + sigma times white noise.

        Below the lowest level s of :attr:`sigma_range` the network is asked at s, and the score (x0 - x) /
        sigma^2 stays what it is there (Tweedie's formula): x + (sigma / s)^2 (x0_s - x). So the picture moves
        by less than at s, and ever less towards 0.

        Args:
            x:
                (B, C, H, W), images in [-1, 1] plus noise.
            sigma:
                Noise level in the same unit, > 0, one for all or [B]; up to twice the largest of the schedule
                (the network is asked at :meth:`timestep`).

        Returns:
            The posterior mean as the network sees it, (B, C, H, W).

        Raises:
            ValueError: sigma is not above 0, or far above the schedule's range.
        """
        return self._denoised(x, sigma, labels)

    def as_deepinv(self, labels: Tensor | None = None) -> AsDenoiser:
        """The prior as a denoiser D(x, sigma) of pictures in [0, 1], differentiable: deepinv's protocol.

        Args:
            labels:
                Classes [B] or [1], for every call of a conditional network.

        Returns:
            A Module around the same weights; sigma 0 gives x back, levels below the lowest known one move a
            picture by ever less (:meth:`denoise`).

        Raises:
            ValueError: the prior has classes and there are no labels.
        """
        if self.num_classes is not None and labels is None:
            raise ValueError(f"labels: {self.name} is a network for classes, expected [B] or [1]")
        return AsDenoiser(self._denoised, self.module, labels)

    def _denoised(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None) -> Tensor:
        """:meth:`denoise`, with gradients where they are switched on."""
        levels = self._levels_of(x, sigma)
        low, high = self.sigma_range
        if not (levels <= 2 * high).all():
            raise ValueError(f"sigma: expected above 0, up to {high:.3g}, got {sigma}")
        asked = levels.clamp(min=low)
        times = {level: self.timestep(level) for level in set(asked.tolist())}
        t = torch.tensor([times[level] for level in asked.tolist()], dtype=torch.float32)
        signal = (1 / (1 + asked**2)).sqrt()
        noise = asked * signal
        x_t = x * signal.to(x.device, x.dtype).view(-1, 1, 1, 1)
        out = self.at(x_t, t.to(x.device), labels)[:, : x.shape[1]].to(x.dtype)
        signal, noise = (v.to(x.device, x.dtype).view(-1, 1, 1, 1) for v in (signal, noise))
        if self.prediction == "eps":
            out = (x_t - noise * out) / signal
        elif self.prediction == "v":
            out = signal * x_t - noise * out
        return held_score(out, x, levels / low)

    def _levels_of(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Noise levels, one for each picture, float64 [B] on the processor."""
        levels = torch.as_tensor(sigma, dtype=torch.float64).cpu().reshape(-1)
        if len(levels) not in (1, len(x)):
            raise ValueError(f"sigma: expected one number or [{len(x)}], got {len(levels)} numbers")
        if not (levels > 0).all():
            raise ValueError(f"sigma: expected > 0, got {levels.tolist()}")
        return levels.expand(len(x))


def held_score(x0: Tensor, x: Tensor, share: Tensor) -> Tensor:
    """x0 of the lowest known level as that of `share` (a part of 1) of it: see :meth:`Prior.denoise`."""
    if bool((share >= 1).all()):
        return x0
    return torch.lerp(x, x0, share.clamp(max=1).square().to(x.device, x.dtype).view(-1, 1, 1, 1))
