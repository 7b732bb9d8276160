"""What degradations share whose measurement is a picture of the same size."""

from __future__ import annotations

from torch import Tensor

from ..base import Forward, Shape
from ..cuts import Cuts


class SameSize(Forward):
    """A degradation whose measurement has the shape of the picture."""

    def image_shape(self, y: Tensor) -> Shape:
        if y.dim() != 4:
            raise ValueError(f"y: expected (B, C, H, W), got shape {tuple(y.shape)}")
        return tuple(y.shape[1:])

    def check_image(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise ValueError(f"x: expected pictures (C, H, W), got shape {shape}")

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{type(self).__name__}({said})"


class OfPixels(SameSize):
    """One that treats every pixel alone, so that it is the same for every window."""

    mixes = "nothing"

    def windows(self, cuts: Cuts) -> OfPixels:
        return self
