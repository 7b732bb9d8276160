"""How good a restored picture is: PSNR, SSIM, distance to the measurement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..machine.arguments import checked
from ..operators import Forward, Operator
from ..problems.noise import estimate_noise

_PIECE = 2**22

__all__ = ["estimate_noise", "has_ssim", "psnr", "residual", "ssim"]


@checked
def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1], over all pixels and channels.

    Args:
        estimate:
            Clipped to [0, 1] first.
        truth:
            Same shape. Two uint8 pictures are divided by 255 first.

    Returns:
        -10 log10 of the mean squared error; infinite for equal pictures.

    Raises:
        ValueError: The shapes differ, or numbers are whole ones of another kind, or the truth leaves [0, 1]
            as a picture of 0 to 255 does.
    """
    if estimate.dtype == truth.dtype == torch.uint8:
        estimate, truth = estimate.double() / 255, truth.double() / 255
    for name, picture in (("estimate", estimate), ("truth", truth)):
        if not picture.is_floating_point():
            raise ValueError(
                f"{name}: got {picture.dtype}, expected floating-point numbers in [0, 1] (or uint8 for both)"
            )
    if truth.numel() and float(truth.max()) > 2:
        raise ValueError(
            f"truth: reaches {float(truth.max()):.4g}, expected a picture in [0, 1]; this looks like 0..255"
        )
    if estimate.shape != truth.shape:
        raise ValueError(
            f"estimate: expected the truth's shape {tuple(truth.shape)}, got {tuple(estimate.shape)}"
        )
    error = (estimate.double().clamp(0, 1) - truth.double()).square().mean().item()
    return -10 * math.log10(error) if error > 0 else math.inf


@checked
def ssim(estimate: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004, Gaussian window of 1.5 pixels) of pictures in [0, 1].

    Args:
        estimate:
            (C, H, W), clipped to [0, 1] first.
        truth:
            Same shape; sides of at least 11.

    Returns:
        Mean over pixels and channels; scikit-image computes it.

    Raises:
        ImportError: scikit-image is not installed (``pip install 'ddrm-fast[metrics]'``).
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ImportError("SSIM needs scikit-image: pip install 'ddrm-fast[metrics]'") from error
    return float(
        structural_similarity(
            truth.double().numpy(),
            estimate.double().clamp(0, 1).numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def has_ssim() -> bool:
    """Whether :func:`ssim` can be computed here."""
    try:
        import skimage.metrics  # noqa: F401
    except ImportError:
        return False
    return True


@checked
def residual(y: Tensor, x: Tensor, operator: Forward) -> float:
    """Distance to the measurement per measured direction, ||S V_1^T x - U^T y|| / sqrt(m).

    Args:
        y:
            Measurement, batch 1, in the operator's layout.
        x:
            Picture, batch 1.

    Returns:
        Root mean square over the m directions with s > 0, in the unit of y (of a map: over all values). A
        picture that explains the measurement has about sigma_y here.
    """
    for name, value in (("y", y), ("x", x)):
        if not value.is_floating_point():
            raise ValueError(f"{name}: expected floating-point numbers, got {value.dtype}")
    if not isinstance(operator, Operator):
        return float((y - operator.H(x)).double().square().mean().sqrt())
    u, c = operator.Ut(y), operator.measure(x)
    if u.shape[1:] != c.shape[1:]:
        raise ValueError(
            f"y: got shape {tuple(y.shape)}, which is no measurement of x {tuple(x.shape)}"
        )
    s = operator.singulars(tuple(x.shape[1:])).to(c.real.dtype if c.is_complex() else c.dtype)
    distance = (u - s * c).abs()
    measured = (s > 0).expand_as(distance)
    count = int(measured.sum())
    distance.mul_(measured)
    # in pieces: in float64 all of a large picture would take more memory than its restoration
    total = sum(float(part.double().square().sum()) for part in distance.flatten().split(_PIECE))
    return math.sqrt(total / count) if count else 0.0
