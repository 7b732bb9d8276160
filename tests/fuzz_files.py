"""Damaged files of every format that is read: flipped bits, cut ends, changed numbers; seeded.

What must come of each: a picture, or a ValueError (OSError, ImportError) of one line that names it. By hand:

    python tests/fuzz_files.py 20000 [SEED]
"""

from __future__ import annotations

import collections
import sys
import tempfile
import time
import warnings
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image

from ddrm_fast.io import Picture, read_measurement, read_picture, write_measurement, write_picture
from ddrm_fast.io.blocks import BlockPicture
from ddrm_fast.problems import measure, operator_of

EXPECTED = (ValueError, OSError, ImportError)


def samples(folder: Path) -> dict[str, bytes]:
    """A small file of each kind, by name."""
    rng = np.random.default_rng(0)
    colours = np.asarray(
        Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize((40, 28))
    )
    image, deep = Image.fromarray(colours), colours.astype(np.uint16) * 257
    kinds: dict[str, bytes] = {}
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "maker"

    def saved(name: str, picture: Image.Image = image, **options) -> None:
        buffer = BytesIO()
        picture.save(buffer, options.pop("format", None) or Image.registered_extensions()[Path(name).suffix],
                     **options)  # fmt: skip
        kinds[name] = buffer.getvalue()

    for name in ("a.png", "a.jpg", "a.webp", "a.avif", "a.jp2", "a.gif", "a.bmp", "a.ppm", "a.tga", "a.pcx",
                 "a.sgi", "a.qoi"):  # fmt: skip
        saved(name, exif=exif) if name in ("a.png", "a.jpg", "a.webp") else saved(name)
    saved("palette.png", image.convert("P"))
    saved("cmyk.jpg", image.convert("CMYK"))
    saved("progressive.jpg", progressive=True)
    kinds["deep.png"] = imagecodecs.png_encode(deep)
    kinds["deep.jp2"] = imagecodecs.jpeg2k_encode(deep, level=0)
    kinds["deep.ppm"] = b"P6 40 28 65535\n" + deep.astype(">u2").tobytes()

    def tiff(name: str, values: np.ndarray, **options) -> None:
        buffer = BytesIO()
        tifffile.imwrite(buffer, values, **options)
        kinds[name] = buffer.getvalue()

    for compression in (None, "zlib", "lzw", "jpeg", "packbits", "zstd", "lzma", "webp"):
        tiff(
            f"{compression}.tif", colours, photometric="rgb", compression=compression, tile=(16, 16)
        )
    tiff("strips.tif", deep, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=5)
    tiff("planes.tif", deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    tiff("bits12.tif", deep[..., 0] >> 4, bitspersample=12, photometric="miniswhite")
    tiff("palette.tif", colours[..., 0] % 16, photometric="palette",
         colormap=rng.integers(0, 65536, (3, 256)).astype(np.uint16))  # fmt: skip
    tiff("lab.tif", colours, photometric="cielab")
    tiff("inks.tif", np.dstack([colours, colours[..., :1]]), photometric="separated")
    for task, options in (("sr", {"factor": 2}), ("inpaint", {"mask": "random:0.5"})):
        stored = measure(
            Picture(torch.from_numpy(colours / np.float32(255)).permute(2, 0, 1)), task, options
        )
        write_measurement(folder / "m.npz", stored)
        kinds[f"{task}.npz"] = (folder / "m.npz").read_bytes()
    write_picture(folder / "w.png", Picture(torch.rand(3, 9, 9), torch.rand(9, 9), 16, b"profile"))
    kinds["written.png"] = (folder / "w.png").read_bytes()
    return kinds


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Up to four bits flipped, bytes replaced, a part cut out, or the end."""
    found = bytearray(content)
    how = int(rng.integers(6))
    # headers are where it hurts: half of all damage is there
    reach = min(len(found), 200) if rng.random() < 0.5 else len(found)
    if how <= 2:
        for _ in range(1 if how == 0 else int(rng.integers(1, 5))):
            found[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    elif how == 3:
        place = int(rng.integers(reach))
        found[place : place + 4] = rng.bytes(4)
    elif how == 4:
        found = found[: int(rng.integers(1, len(found)))]
    else:
        start = int(rng.integers(len(found)))
        del found[start : start + int(rng.integers(1, 20))]
    return bytes(found)


def read(path: Path) -> None:
    """As the commands read it."""
    if path.suffix == ".npz":
        operator_of(read_measurement(path))
        return
    picture = read_picture(path)
    if not (
        torch.isfinite(picture.pixels).all()
        and picture.pixels.min() >= 0
        and picture.pixels.max() <= 1
    ):
        raise AssertionError("pixels outside [0, 1]")
    if path.suffix == ".tif":
        blocks = BlockPicture(path)
        if torch.equal(blocks.read(0, 0, *blocks.size), picture.pixels):
            return
        raise AssertionError("memory and disk differ")


def run(count: int, seed: int) -> collections.Counter:
    """How many files were read, refused, and refused wrongly: by kind of the error.

    Raises:
        AssertionError: A file led to something else than a picture or an explanation of one line.
    """
    rng = np.random.default_rng(seed)
    found: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")  # none may reach a user
        folder = Path(name)
        kinds = samples(folder)
        for name, content in kinds.items():
            (folder / name).write_bytes(content)
            read(folder / name)
        names = sorted(kinds)
        for index in range(count):
            name = names[index % len(names)]
            path = folder / name
            content = damaged(kinds[name], rng)
            path.write_bytes(content)
            start = time.monotonic()
            try:
                read(path)
                found["read"] += 1
            except EXPECTED as error:
                said = str(error)
                assert str(path) in said and type(error).__name__ != "UnicodeDecodeError", (
                    name,
                    said,
                )
                found["refused"] += 1
            except BaseException as error:
                (Path(tempfile.gettempdir()) / f"fuzz-{seed}-{index}-{name}").write_bytes(content)
                raise AssertionError(f"{name}, number {index} of seed {seed}: {error!r}") from error
            found["slow"] += time.monotonic() - start > 20
    return found


if __name__ == "__main__":
    counts = run(
        int(sys.argv[1]) if len(sys.argv) > 1 else 2000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
    print(dict(counts))
