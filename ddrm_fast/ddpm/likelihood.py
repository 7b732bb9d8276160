"""The variational bound on -log p(x0), term by term, in bits per dimension.

Ho et al. 2020, eq. 5: L_T + sum_t L_{t-1} + L_0, with the discretised Gaussian of eq. 13 in L_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from .process import Process
from .reverse import Reverse

Network = Callable[..., Tensor]
_LEVELS = 255  # pictures have the values k / 127.5 - 1, k = 0 .. 255


def normal_kl(mean: Tensor, log_variance: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(mean2, variance2)) of every number, in nats."""
    return 0.5 * (
        log_variance2
        - log_variance
        + (log_variance - log_variance2).exp()
        + (mean - mean2).square() * (-log_variance2).exp()
        - 1
    )


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of the probability that a Gaussian falls into the bin of an 8-bit value (eq. 13).

    Bins are 2 / 255 wide; the first and the last reach to infinity, so the 256 probabilities sum to 1.

    Args:
        x:
            Values k / 127.5 - 1 with whole k from 0 to 255, float64.
        mean, log_variance:
            Of the Gaussian, float64, broadcastable to x.

    Returns:
        Nats, <= 0, of x's shape.
    """
    inverse = (-0.5 * log_variance).exp()
    upper = (x - mean + 1 / _LEVELS) * inverse
    lower = (x - mean - 1 / _LEVELS) * inverse
    # in the left tail, where the distribution function is small, its logarithm keeps all digits
    right = lower + upper > 0
    near, far = torch.where(right, -lower, upper), torch.where(right, -upper, lower)
    log_near = torch.special.log_ndtr(near)
    inside = log_near + torch.log(-torch.expm1(torch.special.log_ndtr(far) - log_near))
    first, last = x < -1 + 1 / _LEVELS, x > 1 - 1 / _LEVELS
    inside = torch.where(first, torch.special.log_ndtr(upper), inside)
    return torch.where(last, torch.special.log_ndtr(-lower), inside)


def bits(nats: Tensor) -> Tensor:
    """Mean over all but the first dimension, in bits: (B, ...) to [B]."""
    return nats.flatten(1).mean(dim=1) / math.log(2)


def prior_term(process: Process, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, 1)) in bits per dimension, float64 [B]."""
    x0 = x0.double()
    variance = process.noise[-1].to(x0.device) ** 2
    mean = process.signal[-1].to(x0.device) * x0
    return bits(0.5 * (variance + mean.square() - 1 - variance.log()))


def step_term(
    reverse: Reverse, out: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, clip: bool = False
) -> Tensor:
    """L_{t-1} where t > 0, L_0 where t = 0, at one draw x_t, in bits per dimension.

    Args:
        reverse:
            The reverse process.
        out:
            The network's output at (x_t, t).
        x0:
            Pictures with the 256 values of 8 bits in [-1, 1], (B, C, H, W).
        x_t:
            ``process.diffuse(x0, t, noise)``, in the precision to compute in.
        t:
            Timesteps, int64 [B].
        clip:
            Clip the predicted x0 to [-1, 1].

    Returns:
        [B], in the precision of x_t.
    """
    process = reverse.process
    mean, log_variance, _ = reverse(out, x_t, t, clip)
    posterior = process.posterior_mean(x0.to(x_t.dtype), x_t, t)
    true_log_variance = process.log_small.to(t.device)[t].to(x_t.dtype).view(-1, 1, 1, 1)
    terms = bits(normal_kl(posterior, true_log_variance, mean, log_variance.expand_as(mean)))
    last = (t == 0).nonzero().flatten()
    if not len(last):
        return terms
    nats = discretised_log_likelihood(
        x0[last].double(), mean[last].double(), log_variance.expand_as(mean)[last].double()
    )
    return terms.index_copy(0, last, -bits(nats).to(terms.dtype))


@dataclass(frozen=True)
class Bound:
    """The bound of pictures in bits per dimension, float64 on the CPU.

    Attributes:
        prior:
            L_T, [B].
        terms:
            [B, T]: L_0, L_1, ..., L_{T-1}; column t is the step from x_t to x_{t-1}.
        mean_square:
            Squared error of the predicted x0 at every timestep, [B, T].
    """

    prior: Tensor
    terms: Tensor
    mean_square: Tensor

    @property
    def total(self) -> Tensor:
        """The bound, [B]."""
        return self.prior + self.terms.sum(dim=1)


@torch.no_grad()
def bound(
    network: Network,
    reverse: Reverse,
    x0: Tensor,
    labels: Tensor | None = None,
    *,
    clip: bool = True,
    seed: int = 0,
    first: int = 0,
    progress: Callable[[Sequence[int]], Iterable[int]] = lambda steps: steps,
) -> Bound:
    """The bound of pictures: one network call for every timestep.

    Args:
        network:
            ``(x_t, t[, labels]) -> output``, x_t float32, t float32 [B].
        reverse:
            What its output means.
        x0:
            Pictures (B, C, H, W) with the 256 values of 8 bits in [-1, 1], float32.
        labels:
            Class labels [B], for a conditional network.
        clip:
            Clip the predicted x0 to [-1, 1], as published values do.
        seed:
            Of the draws of x_t: picture i draws from (seed, first + i).
        first:
            Number of the first picture.
        progress:
            Wraps the range of timesteps.

    Raises:
        ValueError: A value of x0 is not one of the 256, or the output has another shape.
    """
    levels = (x0 + 1) * (_LEVELS / 2)
    if not ((levels - levels.round()).abs() < 1e-2).all() or x0.abs().max() > 1:
        raise ValueError("x0: expected the values k / 127.5 - 1 of 8-bit pictures, k = 0 .. 255")
    x0 = (levels.double().round() / (_LEVELS / 2)) - 1
    count, process = len(x0), reverse.process
    keys = ops.noise_keys(count, seed, torch.arange(first, first + count), device=x0.device)
    terms, mean_square = (torch.zeros(count, process.T, dtype=torch.float64) for _ in range(2))
    for step in progress(range(process.T)):
        t = torch.full((count,), step, dtype=torch.int64, device=x0.device)
        noise = ops.normal(keys, *x0.shape[1:], iteration=step, stream=ops.Stream.BOUND)
        # the posterior belongs to the state that the network saw, to the last bit
        x_t = process.diffuse(x0, t, noise.double()).float()
        out = network(x_t, t.float()) if labels is None else network(x_t, t.float(), labels)
        terms[:, step] = step_term(reverse, out.double(), x0, x_t.double(), t, clip).cpu()
        estimate = reverse(out.double(), x_t.double(), t, clip).x0
        mean_square[:, step] = (estimate - x0).square().flatten(1).mean(dim=1).cpu()
    return Bound(prior_term(process, x0).cpu(), terms, mean_square)
