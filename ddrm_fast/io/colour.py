"""Colours that are not RGB: inks through their profile, L*a*b* by its definition; and which profile stays."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

#: colour spaces of ICC profiles (ICC.1:2022, table 19) that pictures are seen with
_SPACES = (b"GRAY", b"RGB ", b"CMYK", b"Lab ", b"XYZ ", b"YCbr", b"Luv ", b"HSV ", b"Yxy ")
#: white of the profile connection space, D50 (ICC.1:2022, 7.2.16)
_D50 = np.array([0.9642, 1.0, 0.8249], dtype=np.float32)
#: XYZ seen under D50 to linear sRGB: IEC 61966-2-1 with the Bradford adaptation
_LINEAR_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ],
    dtype=np.float32,
)


def space_of(icc: bytes | None) -> bytes | None:
    """Colour space that an ICC profile is of, such as b"RGB "; None where it does not say."""
    space = (icc or b"")[16:20]
    return space if space in _SPACES else None


def fitting(icc: bytes | None, channels: int) -> bytes | None:
    """The profile, unless it is of another colour space than a picture of so many channels."""
    return icc if space_of(icc) in (None, b"GRAY" if channels == 1 else b"RGB ") else None


class Inks:
    """Cyan, magenta, yellow and black as sRGB, for white paper (relative colorimetric, black points matched).

    Args:
        icc:
            Profile of the inks. Without a usable one each ink takes away its complement, ``1 -
            min(1, ink + black)``, and ``note`` says so.

    Attributes:
        note:
            What to say of the conversion, or None.
    """

    def __init__(self, icc: bytes | None) -> None:
        self.note: str | None = "its inks have no profile, their colours are a guess"
        self._transform = None
        if icc is None or space_of(icc) != b"CMYK":
            return
        try:
            self._transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                "CMYK",
                "RGB",
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            self.note = None
        except (ImageCms.PyCMSError, OSError) as error:
            self.note = (
                f"the profile of its inks is not usable ({error}), their colours are a guess"
            )

    def rgb(self, inks: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) of uint8 (H, W, 4), where 0 is no ink."""
        image = Image.fromarray(np.ascontiguousarray(inks), "CMYK")
        if self._transform is None:
            return np.asarray(image.convert("RGB"))
        return np.asarray(ImageCms.applyTransform(image, self._transform))


def rgb_of_lab(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """sRGB of CIE 1976 L*a*b* under D50 (CIE 15:2004, 8.2.1), float32 (H, W, 3) in [0, 1].

    Args:
        lightness:
            0 to 100, (H, W).
        a, b:
            About -128 to 127, (H, W).
    """
    f = (lightness.astype(np.float32) + 16) / 116
    f = np.stack((f + a.astype(np.float32) / 500, f, f - b.astype(np.float32) / 200), axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50
    linear = (xyz @ _LINEAR_SRGB.T).clip(0, 1)
    return np.where(
        linear > 0.0031308, 1.055 * linear ** np.float32(1 / 2.4) - 0.055, 12.92 * linear
    )
