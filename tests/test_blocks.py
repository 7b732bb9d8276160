"""Pictures in blocks: Zarr and TIFF, read by region, written whole or not at all."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image

from ddrm_fast.io import OutputError, blocks, read_picture
from ddrm_fast.io.metadata import Metadata

zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install ddrm-fast[large]")
tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")

SHAPE = (3, 300, 530)


def pixels(channels=3, dtype="uint8", seed=0):
    """(H, W, C) as stored."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.random((*SHAPE[1:], channels), dtype=np.float32)
    return rng.integers(0, np.iinfo(dtype).max + 1, (*SHAPE[1:], channels)).astype(dtype)


def write(path, x, icc=None):
    """As the package writes it."""
    white = 1 if x.dtype == np.float32 else np.iinfo(x.dtype).max
    picture = torch.from_numpy(x.astype(np.float32) / np.float32(white)).permute(2, 0, 1)

    def read(top, left, height, width):
        return picture[:, top : top + height, left : left + width]

    blocks.write_blocks(path, tuple(picture.shape), str(x.dtype), read, Metadata(icc))
    return picture


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_what_is_written_is_read(tmp_path, name, dtype, channels):
    """By region, by block, and by the formats' own libraries."""
    x = pixels(channels, dtype)
    expected = write(tmp_path / name, x)
    found = blocks.BlockPicture(tmp_path / name)
    assert (found.channels, found.size, found.dtype) == (channels, SHAPE[1:], dtype)
    assert found.block == (256, 256) and len(list(found.blocks())) == 6
    for region in [(0, 0, *SHAPE[1:]), (250, 500, 20, 30), (299, 0, 1, 530), (0, 512, 256, 18)]:
        top, left, height, width = region
        assert torch.equal(
            found.read(*region), expected[:, top : top + height, left : left + width]
        )
    if name == "a.tif":
        assert np.array_equal(tifffile.imread(tmp_path / name).reshape(x.shape), x)
    else:
        assert np.array_equal(zarr.open_array(tmp_path / name, mode="r")[:], x)


def test_other_writers(tmp_path):
    """Strips, planes, pyramids, groups: the same regions."""
    x = pixels()
    expected = torch.from_numpy(x).permute(2, 0, 1)[:, 100:290, 200:500] / 255
    Image.fromarray(x).save(tmp_path / "strips.tif", compression="tiff_adobe_deflate")
    tifffile.imwrite(
        tmp_path / "planes.tif", x.transpose(2, 0, 1), tile=(64, 48), photometric="rgb",
        planarconfig="separate",
    )  # fmt: skip
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        settings = {"tile": (128, 128), "photometric": "rgb"}
        file.write(x, subifds=1, **settings)
        file.write(x[::2, ::2], subfiletype=1, **settings)
    zarr.create_array(
        tmp_path / "planes.zarr", data=x.transpose(2, 0, 1).copy(), chunks=(1, 99, 99)
    )
    group = zarr.create_group(tmp_path / "group.zarr")
    for level, values in enumerate([x, x[::2, ::2].copy()]):
        group.create_array(str(level), data=values, chunks=(100, 100, 3))
    for path in sorted(tmp_path.iterdir()):
        found = blocks.BlockPicture(path)
        assert torch.equal(found.read(100, 200, 190, 300), expected), path.name


def test_a_profile_survives(tmp_path):
    write(tmp_path / "a.tif", pixels(), icc=b"a profile of colours")
    assert blocks.BlockPicture(tmp_path / "a.tif").icc == b"a profile of colours"
    assert read_picture(tmp_path / "a.tif").icc == b"a profile of colours"


def test_only_so_many_blocks_are_kept(tmp_path):
    write(tmp_path / "a.zarr", pixels())
    found = blocks.BlockPicture(tmp_path / "a.zarr", cache=2 * 3 * 256 * 256)
    found.read(0, 0, *SHAPE[1:])
    assert len(found._cache) == 2
    with pytest.raises(ValueError, match="256 pixels, takes 192.0 KiB, expected at most 1.0 KiB"):
        blocks.BlockPicture(tmp_path / "a.zarr", cache=1000)


def damage(path):
    """Break the block with row 1 and column 1 of a file that `write` wrote."""
    if path.suffix == ".zarr":
        chunk = path / "c/1/1/0"
        chunk.write_bytes(b"\0" * 50 + chunk.read_bytes()[50:])
        return
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[4]
    content = bytearray(path.read_bytes())
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_a_damaged_block_is_named_and_can_be_left_out(tmp_path, name):
    expected = write(tmp_path / name, pixels())
    damage(tmp_path / name)
    found = blocks.BlockPicture(tmp_path / name)
    assert torch.equal(found.read(0, 0, 256, 530), expected[:, :256])
    with pytest.raises(blocks.BlockError, match=rf"{name}: block \(1, 1\), rows 256 to 299, ") as e:
        found.read(200, 0, 100, 300)
    assert e.value.block == (256, 256, 44, 256)
    found.lost.add(e.value.block)
    x, known = found.read(200, 200, 100, 100), found.known(200, 200, 100, 100)
    assert known.sum() == 100 * 100 - 44 * 44 and not known[56:, 56:].any()
    assert torch.equal(x, expected[:, 200:300, 200:300] * known)


def test_numbers_that_are_no_picture(tmp_path):
    x = pixels(dtype="float32")
    x[280, 10] = 1.5
    zarr.create_array(tmp_path / "a.zarr", data=x, chunks=(256, 256, 3))
    with pytest.raises(blocks.BlockError, match=r"block \(1, 0\).*pixels outside \[0, 1\]"):
        blocks.BlockPicture(tmp_path / "a.zarr").read(0, 0, *SHAPE[1:])


def test_files_that_are_no_pictures(tmp_path):
    def refused(name, message, error=ValueError):
        with pytest.raises(error, match=message):
            blocks.BlockPicture(tmp_path / name)

    refused("gone.zarr", "gone.zarr: no such file", FileNotFoundError)
    (tmp_path / "empty.zarr").mkdir()
    refused("empty.zarr", "empty.zarr: not readable as a picture in blocks")
    (tmp_path / "text.tif").write_text("not a TIFF file")
    refused("text.tif", "text.tif: not readable as a picture in blocks")
    zarr.create_array(tmp_path / "deep.zarr", data=np.zeros((4, 4, 4, 4), dtype=np.uint8))
    refused("deep.zarr", r"has shape \(4, 4, 4, 4\), expected \(rows, columns\)")
    zarr.create_array(tmp_path / "wide.zarr", data=np.zeros((4, 4, 3), dtype=np.int64))
    refused("wide.zarr", "has int64 pixels, expected uint8, uint16, float32")
    group = zarr.create_group(tmp_path / "two.zarr")
    for name in "ab":
        group.create_array(name, data=np.zeros((4, 4), dtype=np.uint8))
    refused("two.zarr", "a group of 2 arrays, expected one, or a pyramid")
    tifffile.imwrite(tmp_path / "raw.tif", pixels(), tile=(64, 64), photometric="rgb")
    content = (tmp_path / "raw.tif").read_bytes()
    tag = content.index(b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # compression: none
    (tmp_path / "code.tif").write_bytes(content[: tag + 8] + b"\x99\x99" + content[tag + 10 :])
    refused("code.tif", r"code.tif: .*Compression \(tag 259\) 39321")


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    write(tmp_path / "a.zarr", pixels())
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(ImportError, match=r"need zarr: pip install 'ddrm-fast\[large\]'"):
        blocks.BlockPicture(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    expected = write(tmp_path / name, pixels())
    done = []

    def read(top, left, height, width):
        if len(done) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(top)
        return torch.zeros(3, height, width)

    with pytest.raises(
        OutputError, match=rf"{name}: cannot be written \(No space left on device\)"
    ):
        blocks.write_blocks(tmp_path / name, SHAPE, "uint8", read)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert torch.equal(blocks.BlockPicture(tmp_path / name).read(0, 0, *SHAPE[1:]), expected)


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_a_finished_picture_replaces_the_old_one(tmp_path, name):
    write(tmp_path / name, pixels(seed=1))
    expected = write(tmp_path / name, pixels(seed=2))
    assert torch.equal(blocks.BlockPicture(tmp_path / name).read(0, 0, *SHAPE[1:]), expected)
    assert [path.name for path in tmp_path.iterdir()] == [name]
