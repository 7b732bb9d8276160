"""The published DDNM and DDNM+, on this package's fused steps.

Names, constructor arguments, vector orders and return values are those of ``wyhuai/DDNM``
(``functions/svd_operators.py`` and ``functions/svd_ddnm.py``). Pictures are in [-1, 1] and sigma_y in that
unit. Noisy runs follow the paper unless :func:`published_noise` is called; ``docs/fidelity.md`` lists what
differs.

Wang, Yu, Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..operators.base import Operator
from ..samplers.weights import check_unit
from . import degradations, published
from .degradations.base import overridden, pad
from .degradations.flat import FlatOperator
from .degradations.separable import ZERO
from .loop import (
    GivenNoise,
    Model,
    Network,
    Randomness,
    Steps,
    check_batch,
    check_level,
    check_state,
    sample,
)
from .published import published_noise
from .schedule import alphas_cumprod, compute_alpha, get_schedule_jump, travel_pairs
from .simplified import simplified_ddnm_plus, simplified_operators
from .steps import FusedSteps, MixedSteps, PartSteps
from .two_spectra import TwoSpectra
from .weights import DDNMPlusWeights, DDNMWeights, split_noise

__all__ = [
    "CS",
    "A_functions",
    "Colorization",
    "Deblurring",
    "Deblurring2D",
    "Denoising",
    "GeneralA",
    "Inpainting",
    "SRConv",
    "SuperResolution",
    "WalshHadamardCS",
    "compute_alpha",
    "ddnm_diffusion",
    "ddnm_plus_diffusion",
    "get_schedule_jump",
    "published_noise",
    "simplified_ddnm_plus",
    "simplified_operators",
]

#: the class that guided runs ask for, whatever ``classes`` says (as published)
class_num = 951


class A_functions(degradations.Functions):
    """A degradation y = A x through its singular value decomposition A = U S V^T.

    Subclass it with ``V``, ``Vt``, ``U``, ``Ut``, ``singulars`` and ``add_zeros`` for a degradation of your
    own; ``Lambda`` and ``Lambda_noise`` follow.
    """

    #: whether Lambda_noise applies V^T to its vectors; False: as published; None: as the switch says
    aligned: bool | None = None

    @property
    def _is_aligned(self) -> bool:
        return not published.in_use() if self.aligned is None else self.aligned

    def A(self, vec: Tensor) -> Tensor:
        """The degradation of images (B, ...): (B, m)."""
        return self.forward(vec)

    def At(self, vec: Tensor) -> Tensor:
        """Adjoint: measurements (B, ...) to images (B, N)."""
        return self.adjoint(vec)

    def A_pinv(self, vec: Tensor) -> Tensor:
        """Pseudo-inverse: (B, m) to (B, N); 1/s counts as 0 where s = 0."""
        return self.pseudo_inverse(vec)

    def A_pinv_eta(self, vec: Tensor, eta: float) -> Tensor:
        """Regularised inverse V s / (s^2 + eta) U^T: (B, m) to (B, N)."""
        s = self.singulars()
        return self.scaled(vec, s / (s * s + eta))

    def spectrum(self, entries: int) -> Tensor:
        """Singular values that Lambda sees, [entries], in the order of V; 0 where nothing is measured."""
        return pad(self.singulars()[None], entries)[0]

    def arrange(self, vec: Tensor) -> Tensor:
        """What the published Lambda_noise takes for coefficients, (B, N)."""
        return self.Vt(vec)

    def Lambda(self, vec: Tensor, a: Tensor, sigma_y: float, sigma_t: Tensor, eta: float) -> Tensor:
        """V diag(lambda) V^T vec (eq. 17): the correction as far as the noise of y allows.

        Args:
            vec:
                Images (B, ...).
            a, sigma_t:
                sqrt(abar_next) and sqrt(1 - abar_next), one number each.
            sigma_y:
                Noise of y.
            eta:
                Share of fresh noise, 0 to 1.
        """
        coefficients = self.Vt(vec)
        s = self.spectrum(coefficients.shape[1]).to(coefficients)
        return self.V(split_noise(s, a, sigma_y, sigma_t, eta)[0] * coefficients)

    def Lambda_noise(
        self,
        vec: Tensor,
        a: Tensor,
        sigma_y: float,
        sigma_t: Tensor,
        eta: float,
        epsilon: Tensor,
    ) -> Tensor:
        """V diag(d1) V^T vec + V diag(d2) V^T epsilon (eq. 51); without V^T where ``aligned`` is False.

        See :func:`published_noise` for all of them at once.

        Args:
            vec, epsilon:
                White noise and the network's output, images (B, ...). The others: see :meth:`Lambda`.
        """
        coefficients = self.Vt if self._is_aligned else self.arrange
        z, e = coefficients(vec), coefficients(epsilon)
        s = self.spectrum(z.shape[1]).to(z)
        _, d1, d2 = split_noise(s, a, sigma_y, sigma_t, eta)
        return self.V(d1 * z + d2 * e)

    def _weights(self, eta: float) -> DDNMPlusWeights:
        """The weight function of DDNM+."""
        return DDNMPlusWeights(eta)

    def _plus_operator(self) -> Operator | None:
        """The operator whose steps are those of DDNM+."""
        return self.stepping()


class GeneralA(degradations.General, A_functions):
    """``GeneralA(A)``: any matrix (m, N); singular values below 1e-3 count as 0.

    ``basis=(U, s, V)`` gives the decomposition.
    """


class CS(degradations.BlockCS, A_functions):
    """``CS(channels, img_dim, ratio, device)``: coefficients of 32 x 32 blocks in a random basis.

    ``basis`` (1024, 1024 ratio or more) gives the basis.
    """


class Inpainting(degradations.Inpainting, A_functions):
    """``Inpainting(channels, img_dim, missing_indices, device)``; an index is channels * pixel + channel."""


class Denoising(degradations.Denoising, A_functions):
    """``Denoising(channels, img_dim, device)``: y is the picture. Its Lambda_noise never uses epsilon."""

    def Lambda(self, vec: Tensor, a: Tensor, sigma_y: float, sigma_t: Tensor, eta: float) -> Tensor:
        a, sigma_t = (torch.as_tensor(v, dtype=vec.dtype, device=vec.device) for v in (a, sigma_t))
        if not bool(sigma_t < a * sigma_y):
            return vec
        return vec * (sigma_t * (1 - eta**2) ** 0.5 / a / sigma_y)

    def Lambda_noise(
        self,
        vec: Tensor,
        a: Tensor,
        sigma_y: float,
        sigma_t: Tensor,
        eta: float,
        epsilon: Tensor,
    ) -> Tensor:
        a, sigma_t = (torch.as_tensor(v, dtype=vec.dtype, device=vec.device) for v in (a, sigma_t))
        if not bool(sigma_t >= a * sigma_y):
            return vec * (sigma_t * eta)
        return vec * torch.sqrt(sigma_t**2 - a**2 * sigma_y**2)

    def _weights(self, eta: float) -> DDNMPlusWeights:
        return DDNMPlusWeights(eta, eps=False)


class WalshHadamardCS(degradations.WalshHadamardCS, A_functions):
    """``WalshHadamardCS(channels, img_dim, ratio, perm, device)``: one coefficient of ``ratio`` is kept.

    ``aligned=False``: Lambda_noise as published.
    """

    def __init__(
        self,
        channels: int,
        img_dim: int,
        ratio: int,
        perm: Tensor,
        device: torch.device | str,
        *,
        aligned: bool | None = None,
    ) -> None:
        super().__init__(channels, img_dim, ratio, perm, device)
        self.aligned = aligned


class SuperResolution(degradations.SuperResolution, A_functions):
    """``SuperResolution(channels, img_dim, ratio, device)``: means of ratio x ratio blocks.

    ``aligned=False``: Lambda_noise as published, which depends on the basis of a block's null space:
    ``basis`` (ratio^2, ratio^2), or LAPACK's here.
    """

    def __init__(
        self,
        channels: int,
        img_dim: int,
        ratio: int,
        device: torch.device | str,
        *,
        aligned: bool | None = None,
        basis: Tensor | None = None,
    ) -> None:
        super().__init__(channels, img_dim, ratio, device, basis=basis)
        self.aligned = aligned


class Colorization(degradations.Colorization, A_functions):
    """``Colorization(img_dim, device)``: 0.3333 R + 0.3334 G + 0.3333 B.

    ``aligned=False`` and ``basis`` (3, 3): see :class:`SuperResolution`.
    """

    def __init__(
        self,
        img_dim: int,
        device: torch.device | str,
        *,
        aligned: bool | None = None,
        basis: Tensor | None = None,
    ) -> None:
        super().__init__(img_dim, device, basis=basis)
        self.aligned = aligned


class SRConv(degradations.SRConv, A_functions):
    """``SRConv(kernel, channels, img_dim, device, stride=1)``: filter, then every stride-th sample.

    ``basis=(U, s, V)`` gives the decomposition of the 1-D matrix.
    """


class Deblurring(degradations.Deblurring, A_functions):
    """``Deblurring(kernel, channels, img_dim, device, ZERO=3e-2)``: one kernel along both axes.

    As published A is not the blur (see :class:`ddrm_fast.compat.ddrm.Deblurring`): ``ordered=True`` makes
    it so. Lambda takes singular values before thresholding, in the true order. ``basis=(U, s, V)`` and
    ``order`` give the decomposition, ``aligned=False`` the published Lambda_noise, which depends on it.
    """

    def __init__(
        self,
        kernel: Tensor,
        channels: int,
        img_dim: int,
        device: torch.device | str,
        ZERO: float = ZERO,
        *,
        ordered: bool = False,
        aligned: bool | None = None,
        basis: Sequence[Tensor] | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__(
            kernel, channels, img_dim, device, ZERO, ordered=ordered, basis=basis, order=order
        )
        self.aligned = aligned

    def spectrum(self, entries: int) -> Tensor:
        return self._raw_singulars

    def _plus_operator(self) -> Operator | None:
        if self.fast() is None:
            return None
        planes = (self._plane(s) for s in (self._singulars, self._raw_singulars))
        return TwoSpectra(*self._bases, *planes)


class Deblurring2D(degradations.Deblurring2D, A_functions):
    """``Deblurring2D(kernel1, kernel2, channels, img_dim, device)``: columns, rows; see :class:`Deblurring`.

    ``basis`` is a pair of (U, s, V). Lambda takes the same singular values as A.
    """


def ddnm_diffusion(
    x: Tensor,
    model: Model,
    b: Tensor,
    eta: float,
    A_funcs: A_functions,
    y: Tensor,
    cls_fn: Model | None = None,
    classes: Tensor | None = None,
    config: Any = None,
    *,
    noise: GivenNoise | None = None,
    keep: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Draws restored pictures with DDNM (Wang et al. 2023, algorithm 1), for y without noise.

    Args:
        x:
            White noise (B, C, H, W): the initial state.
        model:
            ``model(x_t, t)`` with t float [B], or ``model(x_t, t, classes)`` with ``cls_fn``; gives
            (B, C, H, W), or 2 C channels of which the first C are read.
        b:
            Variances of the forward process, betas [T].
        eta:
            Share of fresh noise, 0 to 1.
        A_funcs:
            The degradation.
        y:
            Its measurement (B, ...) of a picture in [-1, 1].
        cls_fn, classes:
            ``cls_fn(x, t, classes)`` gives the gradient of a classifier, at the initial state in every step;
            ``classes`` is :data:`class_num` for every picture, whatever is given here (as published).
        config:
            Has ``diffusion.num_diffusion_timesteps`` and ``time_travel.T_sampling``, ``travel_length``,
            ``travel_repeat``.
        noise:
            ``k -> white noise (B, C, H, W)`` of iteration k in pixel space. Default: the kernels' own, seeded
            from torch's global generator.
        keep:
            True: return every state (the first is x) and every clean image, not only the last.

    Returns:
        ([the last state], [the last clean-image prediction]) on the CPU.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    return _run(x, model, b, eta, A_funcs, y, 0.0, False, cls_fn, config, noise, keep)


def ddnm_plus_diffusion(
    x: Tensor,
    model: Model,
    b: Tensor,
    eta: float,
    A_funcs: A_functions,
    y: Tensor,
    sigma_y: float,
    cls_fn: Model | None = None,
    classes: Tensor | None = None,
    config: Any = None,
    *,
    noise: GivenNoise | None = None,
    keep: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Draws restored pictures with DDNM+ (Wang et al. 2023, section 3.3), for noisy y.

    Args:
        sigma_y:
            Standard deviation of the noise of y, in the unit of [-1, 1] pictures.

    The other arguments, results and errors are those of :func:`ddnm_diffusion`. Steps are fused where
    Lambda and Lambda_noise are this package's own and ``A_funcs.aligned`` is True.
    """
    return _run(x, model, b, eta, A_funcs, y, sigma_y, True, cls_fn, config, noise, keep)


@torch.no_grad()
def _run(
    x: Tensor,
    model: Model,
    b: Tensor,
    eta: float,
    A_funcs: A_functions,
    y: Tensor,
    sigma_y: float,
    plus: bool,
    cls_fn: Model | None,
    config: Any,
    noise: GivenNoise | None,
    keep: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    x = check_state(x)
    eta, sigma_y = check_unit("eta", float(eta)), check_level("sigma_y", sigma_y)
    abar = alphas_cumprod(b)
    pairs = travel_pairs(config, len(abar))
    y = check_batch("y", y, x)

    def update(x0: Tensor, out: Tensor, z: Tensor, abar_next: float) -> Tensor:
        """One step by the methods of ``A_funcs``."""
        level = torch.tensor(abar_next, dtype=x.dtype, device=x.device)
        a, sigma_t = level.sqrt(), (1 - level).sqrt()
        flat = x0.flatten(1)
        change = A_funcs.A_pinv(A_funcs.A(flat) - y.flatten(1))
        if not plus:
            fresh = sigma_t * (eta * z + (1 - eta**2) ** 0.5 * out)
            return a * (x0 - change.reshape(x0.shape)) + fresh
        change = A_funcs.Lambda(change, a, sigma_y, sigma_t, eta)
        vec, epsilon = (v.flatten(1) for v in (z, out))
        fresh = A_funcs.Lambda_noise(vec, a, sigma_y, sigma_t, eta, epsilon)
        return a * (x0 - change.reshape(x0.shape)) + fresh.reshape(x0.shape)

    parts = PartSteps(update, abar, pairs, x.device)
    steps: Steps = parts
    if _has_row(A_funcs, plus):
        operator = A_funcs._plus_operator() if plus else A_funcs.stepping()
        if operator is None:
            operator = FlatOperator(A_funcs, tuple(x.shape[1:]), 0.0)
            u = operator.prepare(y)
        else:
            A_funcs.image(x, "x")
            u = operator.prepare(A_funcs.to_operator(y, "y"))
        sampler = A_funcs._weights(eta) if plus else DDNMWeights(eta)
        fused = FusedSteps(operator, u, sampler, abar, pairs, sigma_y)
        steps = MixedSteps(fused, parts) if fused.ties else fused
    chosen = torch.full((x.shape[0],), class_num, dtype=torch.int64, device=x.device)
    network = Network(model, cls_fn, chosen, x)
    return sample(steps, network, Randomness(noise, x), abar, pairs, x, keep)


def _has_row(A_funcs: A_functions, plus: bool) -> bool:
    """Whether the step of this degradation is one affine map that a row describes."""
    if not isinstance(A_funcs, A_functions) or overridden(A_funcs, "A", "A_pinv"):
        return False
    if not plus:
        return True
    return A_funcs._is_aligned and not overridden(A_funcs, "Lambda", "Lambda_noise", "spectrum")
