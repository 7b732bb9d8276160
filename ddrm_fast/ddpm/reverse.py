"""What a network's output means: a Gaussian p(x_{t-1} | x_t), by one of four predictions.

Ho et al. 2020, section 3.2; Salimans and Ho 2022 for v; Nichol and Dhariwal, "Improved denoising
diffusion probabilistic models", ICML 2021, eq. 15 for learned variances.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .process import Process, at

PREDICTIONS = ("eps", "x0", "v", "mean")
VARIANCES = ("small", "large", "learned")


class Step(NamedTuple):
    """p(x_{t-1} | x_t): mean and logarithm of the variance, (B, C, H, W), and the predicted x0.

    A fixed variance is (B, 1, 1, 1).
    """

    mean: Tensor
    log_variance: Tensor
    x0: Tensor


class Reverse:
    """The reverse process of a network, given what it predicts."""

    def __init__(self, process: Process, prediction: str = "eps", variance: str = "small") -> None:
        """Choose the meaning.

        Args:
            process:
                The forward process.
            prediction:
                "eps" (the noise), "x0" (the image), "v" (sqrt(abar) eps - sqrt(1 - abar) x0) or
                "mean" (the mean of the posterior).
            variance:
                "small" (the posterior's), "large" (beta), or "learned": the network's last C
                channels v, log variance = log small + (v + 1) / 2 (log beta - log small).

        Raises:
            ValueError: There is no such choice; or abar reaches 0, where eps says nothing of x0.
        """
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"prediction: expected one of {', '.join(PREDICTIONS)}, got {prediction!r}"
            )
        if variance not in VARIANCES:
            raise ValueError(f"variance: expected one of {', '.join(VARIANCES)}, got {variance!r}")
        if prediction == "eps" and process.reaches_zero:
            raise ValueError(
                "prediction: eps says nothing of the image where abar is 0, as it is at the last timestep "
                "of this schedule; expected x0, v or mean"
            )
        self.process, self.prediction, self.variance = process, prediction, variance

    def out_channels(self, channels: int) -> int:
        """Channels of the network's output for pictures of so many channels."""
        return 2 * channels if self.variance == "learned" else channels

    def target(self, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network should give for x_t = ``process.diffuse(x0, t, noise)``.

        Args:
            x0, x_t, noise:
                (B, C, H, W).
            t:
                Timesteps, int64 [B].
        """
        process = self.process
        if self.prediction == "eps":
            return noise
        if self.prediction == "x0":
            return x0
        if self.prediction == "v":
            return at(process.signal, t, x0) * noise - at(process.noise, t, x0) * x0
        return process.posterior_mean(x0, x_t, t)

    def x0(self, out: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean image that an output stands for.

        Args:
            out:
                The network's first C channels, (B, C, H, W).
            x_t:
                State of that shape.
            t:
                Timesteps, int64 [B].
        """
        process = self.process
        if self.prediction == "eps":
            return (x_t - at(process.noise, t, x_t) * out) / at(process.signal, t, x_t)
        if self.prediction == "x0":
            return out
        if self.prediction == "v":
            return at(process.signal, t, x_t) * x_t - at(process.noise, t, x_t) * out
        return (out - at(process.mean_x_t, t, x_t) * x_t) / at(process.mean_x0, t, x_t)

    def __call__(self, out: Tensor, x_t: Tensor, t: Tensor, clip: bool = False) -> Step:
        """The Gaussian of a step.

        Args:
            out:
                The network's output, (B, C, H, W), or (B, 2 C, H, W) with learned variances.
            x_t:
                State (B, C, H, W), floating point; the result has its precision.
            t:
                Timesteps, int64 [B].
            clip:
                Clip the predicted x0 to [-1, 1] before the mean is made of it.

        Raises:
            ValueError: The output has another shape.
        """
        channels = x_t.shape[1]
        expected = (len(x_t), self.out_channels(channels), *x_t.shape[2:])
        if tuple(out.shape) != expected:
            raise ValueError(f"network: expected an output of {expected}, got {tuple(out.shape)}")
        out = out.to(x_t.dtype)
        x0 = self.x0(out[:, :channels], x_t, t)
        if clip:
            x0 = x0.clamp(-1, 1)
        mean = self.process.posterior_mean(x0, x_t, t)
        return Step(mean, self.log_variance(out[:, channels:], x_t, t), x0)

    def log_variance(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Logarithm of the variance, (B, C, H, W) or (B, 1, 1, 1).

        Args:
            v:
                Channels of a learned variance: -1 gives the posterior's, 1 gives beta.
            x_t:
                State; for precision and device.
            t:
                Timesteps, int64 [B].
        """
        process = self.process
        if self.variance == "small":
            return at(process.log_small, t, x_t)
        if self.variance == "large":
            return at(process.log_large, t, x_t)
        small = at(process.log_small, t, x_t)
        return torch.lerp(
            small.expand_as(v), at(process.log_beta, t, x_t).expand_as(v), (v + 1) / 2
        )
