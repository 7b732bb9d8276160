"""A prior: a network, what it predicts, and the schedule that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .precision import DTYPES, check_precision, fastest_precision
from .prediction import prediction_row
from .schedule import Schedule


@dataclass
class Prior:
    """A diffusion model of images in [-1, 1].

    Args:
        network:
            ``(x_t, t[, labels]) -> output``: x_t (B, C, H, W) float32, t float32 [B] (timesteps 0 .. T - 1),
            output (B, C or more, H, W); channels behind the first C (variances) are not read.
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
    _fastest: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.module is None and isinstance(self.network, torch.nn.Module):
            self.module = self.network
        prediction_row(self.prediction, 0.5)
        if not callable(self.network):
            raise ValueError(f"network: expected a callable, got {type(self.network).__name__}")

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output, its shape checked.

        Raises:
            ValueError: the output does not have x_t's shape (or more channels).
        """
        x = x_t if self.dtype is None else x_t.to(self.dtype)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
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
        self.module.to(memory_format=layout)
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

    def guidance_factor(self, t: int) -> float:
        """What a gradient of log p is multiplied by before it is added to the network's output.

        eps changes by -sqrt(1 - abar) gradient; the output by that over d eps / d out.
        """
        abar = self.schedule.abar(t)
        if abar == 0:
            raise ValueError(
                f"guidance: the state holds nothing of the image at timestep {t}, where abar is 0"
            )
        return -math.sqrt(1 - abar) / prediction_row(self.prediction, abar)[3]

    @torch.no_grad()
    def denoise(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """Clean image from ``x`` = image + sigma times white noise.

        Args:
            x:
                (B, C, H, W), images in [-1, 1] plus noise.
            sigma:
                Noise level in the same unit, > 0, one for all or [B]; between the smallest and the
                largest of the schedule (the network is asked at the nearest timestep).

        Returns:
            The posterior mean as the network sees it, (B, C, H, W).

        Raises:
            ValueError: sigma is outside the schedule's range.
        """
        batch = x.shape[0]
        levels = torch.as_tensor(sigma, dtype=torch.float64).cpu().reshape(-1)
        if len(levels) not in (1, batch):
            raise ValueError(f"sigma: expected one number or [{batch}], got {len(levels)} numbers")
        levels = levels.expand(batch)
        abar = self.schedule.alphas_cumprod
        known = ((1 - abar) / abar).sqrt()
        low, high = float(known[0]), float(known[torch.isfinite(known)][-1])
        if batch and not ((levels >= 0.5 * low) & (levels <= 2 * high)).all():
            raise ValueError(f"sigma: expected {low:.2g} to {high:.3g}, got {sigma}")
        t = (levels.log()[:, None] - known.clamp_min(1e-12).log()[None]).abs().argmin(dim=1)
        signal = (1 / (1 + levels**2)).sqrt()
        noise = levels * signal
        x_t = x * signal.to(x.device, x.dtype).view(-1, 1, 1, 1)
        out = self(x_t, t.to(x.device, torch.float32), labels)[:, : x.shape[1]].to(x.dtype)
        if self.prediction == "x0":
            return out
        signal, noise = (v.to(x.device, x.dtype).view(-1, 1, 1, 1) for v in (signal, noise))
        if self.prediction == "eps":
            return (x_t - noise * out) / signal
        return signal * x_t - noise * out
