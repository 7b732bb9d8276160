"""How good a restored picture is: PSNR, SSIM, distance to the measurement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..operators import Operator


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1], over all pixels and channels.

    Args:
        estimate: Clipped to [0, 1] first.
        truth: Same shape.

    Returns:
        -10 log10 of the mean squared error; infinite for equal pictures.

    Raises:
        ValueError: The shapes differ.
    """
    if estimate.shape != truth.shape:
        raise ValueError(
            f"estimate: expected the truth's shape {tuple(truth.shape)}, got {tuple(estimate.shape)}"
        )
    error = (estimate.double().clamp(0, 1) - truth.double()).square().mean().item()
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(estimate: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004, Gaussian window of 1.5 pixels) of pictures in [0, 1].

    Args:
        estimate: (C, H, W), clipped to [0, 1] first.
        truth: Same shape; sides of at least 11.

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


def residual(y: Tensor, x: Tensor, operator: Operator) -> float:
    """Distance to the measurement per measured direction, ||S V_1^T x - U^T y|| / sqrt(m).

    Args:
        y: Measurement, batch 1, in the operator's layout.
        x: Picture, batch 1.

    Returns:
        Root mean square over the m directions with s > 0, in the unit of y. A picture that explains
        the measurement has about sigma_y here.
    """
    u, c = operator.Ut(y), operator.measure(x)
    s = operator.singulars(tuple(x.shape[1:])).to(c.real.dtype if c.is_complex() else c.dtype)
    distance = (u - s * c).abs().double().square()
    measured = (s > 0).expand_as(distance)
    count = int(measured.sum())
    return math.sqrt(float(distance[measured].sum()) / count) if count else 0.0


def estimate_noise(picture: Tensor, known: Tensor | None = None) -> float:
    """Standard deviation of the white noise in a picture in [0, 1].

    Second differences along both axes (Immerkaer 1996) remove smooth parts; the median of their size
    (Donoho and Johnstone 1994) ignores edges. Windows with a clipped pixel (0 or 1) are left out where
    enough others remain. Where noise is so strong that much of it was clipped, the result is about
    the deviation that is left (0.31 for 0.39 in the middle of the range), which is also what restores
    such a picture best: 22.2 dB there against 21.6 with 0.39.

    Args:
        picture: (C, H, W); sides of at least 3.
        known: (H, W) or (C, H, W), True where a pixel is known; default everywhere.

    Returns:
        Root mean square over channels. Fine texture counts as noise: photographs without noise give
        0.002 to 0.01.

    Raises:
        ValueError: fewer than 64 places of 3 x 3 known pixels.
    """
    if picture.dim() != 3 or min(picture.shape[1:]) < 3:
        raise ValueError(
            f"picture: expected (C, H, W) of at least 3 x 3, got {tuple(picture.shape)}"
        )
    difference = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    window = (difference[:, None] * difference[None] / 6)[None, None]  # of unit norm

    def whole_windows(mask: Tensor) -> Tensor:
        return -torch.nn.functional.max_pool2d(-mask.float()[:, None], 3, stride=1)[:, 0] > 0

    known = torch.ones_like(picture) if known is None else known.expand_as(picture)
    usable = whole_windows(known > 0)
    if int(usable.sum()) < 64:
        raise ValueError("picture: too few places with 3 x 3 known pixels to estimate the noise")
    inner = usable & whole_windows((picture > 0) & (picture < 1))
    if inner.sum() > 0.1 * usable.sum():
        usable = inner
    sizes = torch.nn.functional.conv2d(picture.double()[:, None], window)[:, 0].abs()
    squares = []
    for channel, keep in zip(sizes, usable, strict=True):
        values = channel[keep & (channel > 1e-6)]  # exact zeros: flat painted areas
        squares.append((float(values.median()) / 0.6745) ** 2 if len(values) else 0.0)
    return math.sqrt(sum(squares) / len(squares))
