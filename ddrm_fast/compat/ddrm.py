"""The published DDRM, on this package's fused steps.

Names, constructor arguments, vector orders and return values are those of ``bahjat-kawar/ddrm``
(``functions/svd_replacement.py`` and ``functions/denoising.py``). Pictures are in [-1, 1] and sigma_0 in that
unit. ``docs/fidelity.md`` lists what differs.

Kawar, Elad, Ermon, Song, "Denoising Diffusion Restoration Models", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor

from ..samplers.weights import check_unit
from . import degradations
from .degradations.flat import FlatOperator
from .loop import (
    GivenNoise,
    Model,
    Network,
    Randomness,
    check_batch,
    check_level,
    check_state,
    sample,
)
from .schedule import alphas_cumprod, compute_alpha
from .steps import FusedSteps
from .weights import TINY, DDRMWeights

__all__ = [
    "Colorization",
    "Deblurring",
    "Deblurring2D",
    "Denoising",
    "GeneralH",
    "H_functions",
    "Inpainting",
    "SRConv",
    "SuperResolution",
    "WalshHadamardCS",
    "compute_alpha",
    "efficient_generalized_steps",
]


class H_functions(degradations.Functions):
    """A degradation y = H x through its singular value decomposition H = U S V^T.

    Subclass it with ``V``, ``Vt``, ``U``, ``Ut``, ``singulars`` and ``add_zeros`` for a degradation of your
    own.
    """

    zero = TINY  # a measured direction with s = 0 follows its measurement's noise, as published

    def H(self, vec: Tensor) -> Tensor:
        """The degradation of images (B, ...): (B, m)."""
        return self.forward(vec)

    def Ht(self, vec: Tensor) -> Tensor:
        """Adjoint: measurements (B, ...) to images (B, N)."""
        return self.adjoint(vec)

    def H_pinv(self, vec: Tensor) -> Tensor:
        """Pseudo-inverse: (B, m) to (B, N); 1/s counts as 0 where s = 0."""
        return self.pseudo_inverse(vec)


class GeneralH(degradations.General, H_functions):
    """``GeneralH(H)``: any matrix (m, N); singular values below 1e-3 count as 0.

    ``basis=(U, s, V)`` gives the decomposition.
    """


class Inpainting(degradations.Inpainting, H_functions):
    """``Inpainting(channels, img_dim, missing_indices, device)``; an index is channels * pixel + channel."""


class Denoising(degradations.Denoising, H_functions):
    """``Denoising(channels, img_dim, device)``: y is the picture."""


class SuperResolution(degradations.SuperResolution, H_functions):
    """``SuperResolution(channels, img_dim, ratio, device)``: means of ratio x ratio blocks."""


class Colorization(degradations.Colorization, H_functions):
    """``Colorization(img_dim, device)``: 0.3333 R + 0.3334 G + 0.3333 B."""


class WalshHadamardCS(degradations.WalshHadamardCS, H_functions):
    """``WalshHadamardCS(channels, img_dim, ratio, perm, device)``: one coefficient of ``ratio`` is kept."""


class SRConv(degradations.SRConv, H_functions):
    """``SRConv(kernel, channels, img_dim, device, stride=1)``: filter, then every stride-th sample.

    ``basis=(U, s, V)`` gives the decomposition of the 1-D matrix.
    """


class Deblurring(degradations.Deblurring, H_functions):
    """``Deblurring(kernel, channels, img_dim, device, ZERO=3e-2)``: one kernel along both axes.

    As published this is not the blur: coefficient C k + c takes the singular value with number
    (C k + c) mod n^2. ``ordered=True`` takes the k-th: the blur, up to 1-D singular values below ``ZERO``.
    ``basis=(U, s, V)`` and ``order`` (the sort's permutation) give the decomposition.
    """


class Deblurring2D(degradations.Deblurring2D, H_functions):
    """``Deblurring2D(kernel1, kernel2, channels, img_dim, device)``: columns, rows; see :class:`Deblurring`.

    ``basis`` is a pair of (U, s, V).
    """


@torch.no_grad()
def efficient_generalized_steps(
    x: Tensor,
    seq: Sequence[int],
    model: Model,
    b: Tensor,
    H_funcs: H_functions,
    y_0: Tensor,
    sigma_0: float,
    etaB: float,
    etaA: float,
    etaC: float,
    cls_fn: Model | None = None,
    classes: Tensor | None = None,
    *,
    noise: GivenNoise | None = None,
    keep: bool = True,
) -> tuple[list[Tensor], list[Tensor]]:
    """Draws restored pictures with DDRM (Kawar et al. 2022, eqs. 7 and 8, as released).

    Args:
        x:
            White noise (B, C, H, W), read as coefficients of the initial state, in the order of
            ``H_funcs.Vt``.
        seq:
            Ascending timesteps; the run visits them from the last to the first, then t = -1.
        model:
            ``model(x_t, t)`` with t float [B], or ``model(x_t, t, classes)`` with ``cls_fn``; gives
            (B, C, H, W), or 2 C channels of which the first C are read.
        b:
            Variances of the forward process, betas [T].
        H_funcs:
            The degradation.
        y_0:
            Its measurement (B, ...) of a picture in [-1, 1].
        sigma_0:
            Standard deviation of the noise of y_0, in that unit.
        etaB, etaA, etaC:
            Trust in the measurement, noise of the measured directions below sigma_0, noise of the null
            space; 0 to 1.
        cls_fn, classes:
            ``cls_fn(x_T, t, classes)`` gives the gradient of a classifier, at the initial state in every
            step.
        noise:
            ``step -> white noise (B, C, H, W)`` in pixel space, step = 0 the noisiest; its coordinates in the
            singular basis are the step's noise. Default: the kernels' own, seeded from torch's global
            generator.
        keep:
            False: only the last state and clean image are kept and returned.

    Returns:
        All states, (len(seq) + 1) of them, and all clean-image predictions, as lists of tensors on the CPU
        (the first state: where x is).

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    x = check_state(x)
    for name, value in (("etaB", etaB), ("etaA", etaA), ("etaC", etaC)):
        check_unit(name, float(value))
    abar = alphas_cumprod(b)
    pairs = _pairs(seq, len(abar))
    y_0 = check_batch("y_0", y_0, x)
    shape = tuple(x.shape[1:])
    operator = H_funcs.stepping() if isinstance(H_funcs, H_functions) else None
    if operator is None:
        operator = FlatOperator(H_funcs, shape, TINY)
        u, start = operator.prepare(y_0), operator.V(x.flatten(1))
    else:
        start = H_funcs.V(H_funcs.image(x, "x")).view(x.shape)
        u = operator.prepare(H_funcs.to_operator(y_0, "y_0"))
    sampler = DDRMWeights(float(etaB), float(etaA), float(etaC))
    steps = FusedSteps(operator, u, sampler, abar, pairs, check_level("sigma_0", sigma_0))
    random = Randomness(noise, x)
    state = steps.start(start, torch.empty_like(x))
    network = Network(model, cls_fn, classes, state)
    return sample(steps, network, random, abar, pairs, state, keep)


def _pairs(seq: Sequence[int], T: int) -> list[tuple[int, int]]:
    """(t, t_next) of every step, from the last timestep down to -1."""
    try:
        visited = [index(t) for t in seq]
    except TypeError:
        raise ValueError(f"seq: expected ascending whole timesteps, got {seq!r}") from None
    ascending = all(a < b for a, b in zip(visited, visited[1:], strict=False))
    if not visited or not ascending or visited[0] < 0 or visited[-1] >= T:
        raise ValueError(f"seq: expected ascending timesteps from 0 to {T - 1}, got {visited}")
    down = visited[::-1]
    return list(zip(down, [*down[1:], -1], strict=True))
