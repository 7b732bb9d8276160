"""A picture is what its file says: depth, colours, orientation, transparency, and its words."""

import logging
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from ddrm_fast.io import Picture, blocks, read_picture, write_picture
from ddrm_fast.io.blocks import BlockPicture, write_blocks
from ddrm_fast.io.colour import rgb_of_lab
from ddrm_fast.io.foreign import TooLarge
from ddrm_fast.training.data.packs import read_picture as read_training_picture

CASES = Path(__file__).parent / "cases"


def truth(kind="rgb"):
    return read_picture(CASES / f"truth_{kind}.png").pixels


def from_disk(path):
    """The picture as the blocks of a file have it."""
    file = blocks.BlockPicture(path)
    return file.read(0, 0, *file.size)


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def planes(values, white):
    return torch.from_numpy(np.moveaxis(values / np.float64(white), -1, 0)).float()


@pytest.mark.parametrize("read", [lambda p: read_picture(p).pixels, from_disk])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("orientation6", "rgb"), ("miniswhite16", "gray"), ("gray12", "gray"), ("planar16", "rgb")],
)
def test_cases(name, kind, read):
    found = read(CASES / f"{name}.tif")
    assert found.shape == truth(kind).shape
    assert (found - truth(kind)).abs().max() < 0.005
    assert name != "planar16" or read_picture(CASES / "planar16.tif").bits == 16


@pytest.mark.parametrize("tile", [None, (32, 16)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiff_is_applied_once(tmp_path, orientation, tile):
    """In memory, on disk by every region, for masks and for training."""
    x = noise(70, 37, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    right = planes(np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(png_of(x, exif))))), 255)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, x, photometric="rgb", tile=tile, rowsperstrip=None if tile else 9,
        extratags=[(274, 3, 1, orientation, True)],
    )  # fmt: skip
    assert torch.equal(read_picture(path).pixels, right)
    assert np.array_equal(
        read_training_picture(path), (right * 255).round().byte().permute(1, 2, 0)
    )
    file = blocks.BlockPicture(path)
    assert torch.equal(file.read(0, 0, *file.size), right)
    assert torch.equal(file.read(5, 7, 20, 25), right[:, 5:25, 7:32])
    covered = torch.zeros(file.size, dtype=torch.int)
    for block in file.blocks():
        top, left, height, width = block
        assert height <= file.block[0] and width <= file.block[1]
        covered[top : top + height, left : left + width] += 1
        file.lost.add(block)
    assert (covered == 1).all() and not file.known(0, 0, *file.size).any()


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_depths_of_tiff(tmp_path, bits):
    x = noise(20, 24, dtype=np.uint16) >> (16 - bits)
    x[0, :2] = 0, 2**bits - 1
    path = tmp_path / "a.tif"
    if bits == 1:
        tifffile.imwrite(path, x.astype(bool), photometric="minisblack")
    else:
        x = x.astype(np.uint8 if bits <= 8 else np.uint16)
        tifffile.imwrite(path, x, bitspersample=bits, photometric="minisblack")
    right = planes(x[..., None], 2**bits - 1)
    for found in (read_picture(path).pixels, from_disk(path)):
        assert torch.allclose(found, right, atol=0.51 / (255 if bits <= 8 else 65535))
    assert read_picture(path).bits == (8 if bits <= 8 else 16)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "jpeg", "lzma", None])
@pytest.mark.parametrize("predictor", [False, True])
def test_compressions_of_tiff(tmp_path, compression, predictor):
    if predictor and compression in ("jpeg", None, "packbits"):
        pytest.skip("has none")
    x = np.asarray(Image.fromarray(noise(5, 7, 3)).resize((70, 50), Image.Resampling.BICUBIC))
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, x, photometric="rgb", compression=compression, predictor=predictor, tile=(32, 32)
    )
    right = tifffile.imread(path)  # JPEG has loss
    assert np.abs(right.astype(int) - x).mean() <= (3 if compression == "jpeg" else 0)
    for found in (read_picture(path).pixels, from_disk(path)):
        assert torch.equal(found, planes(right, 255))


@pytest.mark.parametrize("kind", ["group4", "group3", "tiff_ccitt", "packbits"])
def test_faxes(tmp_path, kind):
    x = Image.fromarray(noise(40, 56)).point(lambda v: 255 * (v > 128)).convert("1")
    x.save(tmp_path / "a.tif", compression=kind)
    assert torch.equal(
        read_picture(tmp_path / "a.tif").pixels[0], torch.from_numpy(np.array(x)).float()
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_palettes(tmp_path, dtype):
    """Colours, never the indices; 16-bit colours where the palette has them."""
    index = noise(64, 48) % 16
    colours = noise(3, 16, dtype=np.uint16, seed=1)
    if dtype == "uint8":
        colours = colours // 257 * 257
    path = tmp_path / "a.tif"
    whole = np.zeros((3, 256), np.uint16)
    whole[:, :16] = colours
    tifffile.imwrite(path, index, photometric="palette", colormap=whole, tile=(32, 32))
    right = planes(np.moveaxis(colours[:, index], 0, -1), 65535)
    assert torch.allclose(read_picture(path).pixels, right, atol=1e-6)
    assert torch.allclose(from_disk(path), right, atol=1e-6)
    assert blocks.BlockPicture(path).dtype == dtype


def test_pages_are_said(tmp_path, caplog):
    stack = noise(3, 40, 40)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", tile=(16, 16))
    for found in (read_picture(path).pixels, from_disk(path)):
        assert torch.equal(found, planes(stack[0][..., None], 255))
    assert caplog.text.count("a.tif: has 3 pages, the first is taken") == 2
    caplog.clear()
    with tifffile.TiffWriter(path) as file:  # small copies are no pages
        file.write(stack[0, ::2, ::2], subfiletype=1, photometric="minisblack")
        file.write(stack[0], photometric="minisblack", subifds=1)
        file.write(stack[0, ::2, ::2], subfiletype=1, photometric="minisblack")
    assert torch.equal(read_picture(path).pixels, planes(stack[0][..., None], 255))
    assert not caplog.text
    gif = [Image.fromarray(page) for page in stack]
    gif[0].save(tmp_path / "a.gif", save_all=True, append_images=gif[1:])
    read_picture(tmp_path / "a.gif")
    assert "a.gif: is animated, the first picture is taken" in caplog.text


def test_signed_and_inverted_samples(tmp_path):
    x = noise(20, 20, dtype=np.uint16)
    for values, white in [((x // 2).astype(np.int16), 32767), ((x // 512).astype(np.int8), 127)]:
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
        right = planes(values[..., None], white)
        assert torch.allclose(
            read_picture(tmp_path / "a.tif").pixels, right, atol=0.51 / 255 * 127 / white
        )
        assert torch.allclose(from_disk(tmp_path / "a.tif"), right, atol=0.51 / 255 * 127 / white)
    f = (x / 65535).astype(np.float32)
    for values, white in [
        (x, 65535),
        ((x >> 8).astype(np.uint8), 255),
        (f, 1),
        (f.astype(np.float64), 1),
    ]:
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
        right = 1 - planes(values[..., None], white)
        assert torch.allclose(read_picture(tmp_path / "a.tif").pixels, right, atol=1e-6)
        assert torch.allclose(from_disk(tmp_path / "a.tif"), right, atol=1e-6)


def test_alpha_of_tiff(tmp_path):
    """Straight as it is; multiplied into the colours it is divided out; further samples are left out."""
    x = noise(20, 24, 4)
    tifffile.imwrite(tmp_path / "a.tif", x, photometric="rgb", extrasamples=["unassalpha"])
    found = read_picture(tmp_path / "a.tif")
    assert torch.equal(found.pixels, planes(x[..., :3], 255))
    assert torch.equal(found.alpha, torch.from_numpy(x[..., 3] / np.float32(255)))
    multiplied = x.copy()
    multiplied[..., :3] = np.rint(x[..., :3] * (x[..., 3:] / 255))
    tifffile.imwrite(tmp_path / "b.tif", multiplied, photometric="rgb", extrasamples=["assocalpha"])
    divided, visible = read_picture(tmp_path / "b.tif"), found.alpha > 0.5
    assert (divided.pixels - found.pixels).abs()[:, visible].max() < 1.5 / 255
    with pytest.raises(ValueError, match=r"b.tif: .*ExtraSamples \(tag 338\)"):
        blocks.BlockPicture(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", x, photometric="rgb", extrasamples=["unspecified"])
    assert torch.equal(read_picture(tmp_path / "c.tif").pixels, found.pixels)
    assert read_picture(tmp_path / "c.tif").alpha is None


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (noise(8, 8, dtype=np.uint32), {}, r"BitsPerSample \(tag 258\) 32"),
        (np.full((8, 8), -3, np.int16), {}, r"SampleFormat \(tag 339\) 2.*-3 has no meaning"),
        (np.ones((8, 8), np.complex64), {}, r"SampleFormat \(tag 339\) 6"),
        (noise(8, 8), {"photometric": "cfa"}, r"PhotometricInterpretation \(tag 262\) 32803"),
        (noise(8, 8), {"photometric": "mask"}, r"PhotometricInterpretation \(tag 262\) 4"),
        (np.full((8, 8), 1.5, np.float32), {}, r"outside \[0, 1\]"),
        (np.full((8, 8), np.nan, np.float32), {}, r"outside \[0, 1\]"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(tmp_path, values, options, message):
    tifffile.imwrite(tmp_path / "a.tif", values, **{"photometric": "minisblack", **options})
    with pytest.raises(ValueError, match=f"a.tif: not readable as a picture .*{message}"):
        read_picture(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"a.tif.*{message}"):
        from_disk(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lab(tmp_path, bits, signed):
    """Against the colour management of littleCMS."""
    x = np.asarray(Image.fromarray(noise(4, 5, 3)).resize((30, 20), Image.Resampling.BICUBIC))
    lab = ImageCms.profileToProfile(
        Image.fromarray(x),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    stored = np.asarray(lab).astype(np.int64)
    stored[..., 1:] = stored[..., 1:].astype(np.uint8).astype(np.int8)  # Pillow has them signed
    stored[..., 1:] += 0 if signed else 128  # CIELab; ICCLab
    if bits == 16:
        stored *= np.array([257, 256, 256])
    stored = stored.astype(np.uint8 if bits == 8 else np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="cielab" if signed else "icclab", tile=(16, 16)
    )
    for found in (read_picture(tmp_path / "a.tif").pixels, from_disk(tmp_path / "a.tif")):
        assert (found - planes(x, 255)).abs().max() < 0.06  # a and b are whole numbers
    assert (found - planes(x, 255)).abs().mean() < 0.006


def test_white_and_grey_of_lab():
    level = np.array([[0.0, 50.0, 100.0]])
    found = rgb_of_lab(level, 0 * level, 0 * level)
    assert np.allclose(found[0, 0], 0, atol=1e-4) and np.allclose(found[0, 2], 1, atol=1e-3)
    assert np.allclose(found[0, 1], 0.4663, atol=1e-3)  # sRGB 119 of 255


def ink_profile():
    """An ICC profile (version 2) of inks, with the corners of its table at random: and those corners."""
    corners = noise(16, 3, seed=3)
    corners[0], corners[15] = (255, 128, 128), (0, 128, 128)
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536 * (k in (0, 4, 8)) for k in range(9)))
    table += 4 * straight + corners.tobytes() + 3 * straight
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(table))
    head = struct.pack(">I4sI4s4s4s12s4s", 144 + len(table), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ",
                       struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp")  # fmt: skip
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + tags + table, corners


def test_inks_are_converted_through_their_profile(tmp_path, caplog):
    profile, corners = ink_profile()
    inks = (
        np.array([[(v >> 3 & 1, v >> 2 & 1, v >> 1 & 1, v & 1) for v in range(16)]], np.uint8) * 255
    )
    lab = corners.astype(np.float32)
    right = rgb_of_lab(lab[:, 0] * (100 / 255), lab[:, 1] - 128, lab[:, 2] - 128)
    tifffile.imwrite(
        tmp_path / "a.tif", inks, photometric="separated", iccprofile=profile, tile=(16, 16)
    )
    found = read_picture(tmp_path / "a.tif")
    assert np.abs(found.pixels[:, 0].T.numpy() - right).max() < 0.03 and found.icc is None
    assert torch.equal(from_disk(tmp_path / "a.tif"), found.pixels)
    assert blocks.BlockPicture(tmp_path / "a.tif").icc is None
    even = np.full((16, 16, 4), inks[0, 6])
    Image.fromarray(even, "CMYK").save(tmp_path / "a.jpg", quality=100, icc_profile=profile)
    found = read_picture(tmp_path / "a.jpg")
    assert np.abs(found.pixels[:, 8, 8].numpy() - right[6]).max() < 0.05 and found.icc is None
    assert not caplog.text
    write_picture(tmp_path / "b.png", found)
    with Image.open(tmp_path / "b.png") as image:
        assert "icc_profile" not in image.info


def test_inks_without_a_usable_profile(caplog):
    found = read_picture(CASES / "cmyk_icc.jpg")
    assert found.pixels.shape == (3, 40, 56) and found.icc is None
    assert (found.pixels - truth()).abs().mean() < 0.05
    assert "cmyk_icc.jpg: the profile of its inks is not usable" in caplog.text


def test_profiles_of_other_colours_are_dropped(tmp_path):
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode, kept in (("RGB", True), ("L", False)):
        Image.fromarray(noise(8, 8, 3)).convert(mode).save(tmp_path / "a.png", icc_profile=rgb)
        assert (read_picture(tmp_path / "a.png").icc == rgb) == kept
    coloured = read_picture(tmp_path / "a.png").with_pixels(torch.zeros(3, 8, 8))
    assert coloured.icc is None


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits(tmp_path, channels):
    x = noise(6, 7, channels, dtype=np.uint16)
    content = imagecodecs.png_encode(x)
    place = content.index(b"IDAT") - 4
    key = chunk(b"tRNS", x[2, 3].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(content[:place] + key + content[place:])
    found = read_picture(tmp_path / "a.png")
    assert found.bits == 16 and torch.equal(found.pixels, planes(x, 65535))
    assert found.alpha[2, 3] == 0 and found.alpha.sum() == 41


@pytest.mark.parametrize("white", [65535, 1023])
@pytest.mark.parametrize(("magic", "channels"), [("P5", 1), ("P6", 3)])
def test_netpbm_of_16_bits(tmp_path, magic, channels, white):
    x = (noise(6, 7, channels, dtype=np.uint16) * np.int64(white) // 65535).astype(np.uint16)
    head = f"{magic}\n# made by hand\n7 6\n{white}\n".encode()
    (tmp_path / "a.ppm").write_bytes(head + x.astype(">u2").tobytes())
    found = read_picture(tmp_path / "a.ppm")
    assert found.bits == 16 and torch.equal(
        found.pixels, planes(x.astype(np.float32), np.float32(white))
    )
    (tmp_path / "a.ppm").write_bytes(head + x.astype(">u2").tobytes()[:-1])
    with pytest.raises(ValueError, match=r"a\.ppm: not readable as a picture"):
        read_picture(tmp_path / "a.ppm")


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg_2000_of_16_bits(tmp_path, bits):
    x = noise(16, 16, 3, dtype=np.uint16) >> (16 - bits)
    content = imagecodecs.jpeg2k_encode(x, level=0, bitspersample=bits)
    (tmp_path / "a.jp2").write_bytes(content)
    found = read_picture(tmp_path / "a.jp2")
    assert found.bits == 16 and torch.allclose(found.pixels, planes(x, 2**bits - 1), atol=1e-6)


def png_of(pixels, exif):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heif(tmp_path, orientation):
    """Turned by the file's own boxes alone: its EXIF orientation is of another use."""
    pillow_heif = pytest.importorskip("pillow_heif")
    x = np.asarray(Image.fromarray(noise(3, 4, 3)).resize((64, 48), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    pillow_heif.from_pillow(Image.fromarray(x)).save(
        tmp_path / "a.heic", quality=95, exif=exif.tobytes()
    )
    found = read_picture(tmp_path / "a.heic")
    turned = ImageOps.exif_transpose(Image.open(BytesIO(png_of(x, exif))))
    assert (found.pixels - planes(np.asarray(turned), 255)).abs().mean() < 0.02
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[0x010F] == "maker" and 0x0112 not in kept


def test_heif_without_its_package(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImportError, match=r"a.heic: HEIF pictures need pillow-heif: pip install"):
        read_picture(tmp_path / "a.heic")


def with_words(path, suffix=".jpg"):
    """A picture file of a camera that lay on its side."""
    image = Image.fromarray(noise(24, 40, 3))
    exif = image.getexif()
    exif[0x0112], exif[0x010F], exif[0x8298] = 6, "maker", "owner"
    exif[0x8769] = {0x829A: 0.01, 0xA002: 40}
    exif[0x8825] = {1: "N", 2: (50.0, 5.0, 7.25)}
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(path, exif=exif, xmp=xmp, dpi=(300, 300), icc_profile=icc)
    return icc


def assert_words(content):
    """What a camera wrote is there, what it wrote of the old file is not."""
    exif = Image.Exif()
    exif.load(content)
    assert exif[0x010F] == "maker" and exif[0x8298] == "owner" and 0x0112 not in exif
    inside = exif.get_ifd(0x8769)
    assert inside[0x829A] == pytest.approx(0.01) and 0xA002 not in inside
    assert exif.get_ifd(0x8825)[2] == pytest.approx((50.0, 5.0, 7.25))


@pytest.mark.parametrize("bigtiff", [False, True])
def test_words_are_carried_in_blocks(tmp_path, bigtiff, monkeypatch):
    """From disk to disk, also in files that may grow beyond 4 GiB."""
    imwrite = tifffile.imwrite
    monkeypatch.setattr(
        tifffile, "imwrite", lambda *a, **k: imwrite(*a, **{**k, "bigtiff": bigtiff})
    )
    icc = with_words(tmp_path / "a.jpg")
    write_picture(tmp_path / "a.tif", read_picture(tmp_path / "a.jpg"))
    source = BlockPicture(tmp_path / "a.tif")
    write_blocks(tmp_path / "b.tif", (3, *source.size), "uint8", source.read, source.meta)
    back = BlockPicture(tmp_path / "b.tif")
    assert_words(back.meta.exif)
    assert back.icc == icc and back.meta.dpi == (300, 300)
    assert torch.equal(back.read(0, 0, *back.size), source.read(0, 0, *source.size))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_bigtiff == bigtiff and len(file.pages) == 1


def test_damaged_words_are_left_out(tmp_path):
    """A TIFF is written without EXIF that cannot be read."""
    x = Picture(torch.rand(3, 8, 8), exif=b"Exif\0\0II*\0\xff\xff")
    write_picture(tmp_path / "a.tif", x)
    assert read_picture(tmp_path / "a.tif").exif is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_words_are_carried(tmp_path, suffix, bits):
    """EXIF, XMP (both for an upright picture now), profile and resolution, in every format that has them."""
    icc = with_words(tmp_path / "a.jpg")
    source = read_picture(tmp_path / "a.jpg")
    assert source.size == (40, 24) and source.dpi == (300, 300)
    write_picture(tmp_path / f"b{suffix}", Picture(**{**vars(source), "bits": bits}))
    back = read_picture(tmp_path / f"b{suffix}")
    assert back.size == (40, 24) and back.icc == icc
    assert back.bits == (bits if suffix in (".png", ".tif") else 8)
    loss = 0.3 if suffix in (".jpg", ".webp", ".avif") else 0
    assert (back.pixels - source.pixels).abs().mean() <= loss
    assert b'tiff:Orientation="1"' in back.xmp
    assert_words(back.exif)
    if suffix not in (".webp", ".avif"):
        assert back.dpi == pytest.approx((300, 300), abs=0.02)


def test_quality_and_suffix(tmp_path):
    x = Picture(
        torch.from_numpy(noise(64, 64, 3) / np.float32(255)).permute(2, 0, 1), torch.ones(64, 64)
    )
    sizes = []
    for quality in (20, 90):
        write_picture(tmp_path / "a.jpg", x, quality)
        sizes.append(os.path.getsize(tmp_path / "a.jpg"))
    assert sizes[0] < sizes[1] / 2 and read_picture(tmp_path / "a.jpg").alpha is None
    write_picture(tmp_path / "a.WEBP", x)
    assert Image.open(tmp_path / "a.WEBP").format == "WEBP"
    with pytest.raises(ValueError, match=r"format: got '\.gif', expected one of \.png"):
        write_picture(tmp_path / "a.gif", x)
    with pytest.raises(ValueError, match="quality: got 90 for PNG, which has no loss"):
        write_picture(tmp_path / "a.png", x, 90)
    with pytest.raises(ValueError, match="70000 pixels cannot be written as JPEG"):
        write_picture(tmp_path / "a.jpg", Picture(torch.zeros(1, 1, 70000)))


def test_tables_of_jpeg(tmp_path):
    Image.fromarray(noise(32, 32, 3)).save(tmp_path / "a.jpg", quality=60)
    luminance, colours = read_picture(tmp_path / "a.jpg").jpeg.tables
    assert len(luminance) == len(colours) == 64 and luminance[0] == 13 and max(luminance) == 97
    Image.fromarray(noise(32, 32, 3)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").jpeg is None


def large_png(side):
    """A black picture of many pixels in few bytes."""
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(1 + side)) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_more_pixels_than_pillow_allows_open_without_a_word(tmp_path, monkeypatch, recwarn, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)  # instead of half a gigabyte in a test
    (tmp_path / "a.png").write_bytes(large_png(200))
    assert read_picture(tmp_path / "a.png").size == (200, 200)
    assert not recwarn.list and not caplog.text and Image.MAX_IMAGE_PIXELS == 5_000


def test_memory_is_asked_for_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("ddrm_fast.io.foreign.available_bytes", lambda: 100_000)
    (tmp_path / "a.png").write_bytes(large_png(200))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((200, 200), np.uint8))
    for name in ("a.png", "a.tif"):
        message = rf"{name}: reading its 200 x 200 pixels takes 234.4 KiB of memory, 97.7 KiB are free; cut"
        with pytest.raises(TooLarge, match=message):
            read_picture(tmp_path / name)


def test_programs_are_not_started_for_a_picture(tmp_path):
    """PostScript would be: Ghostscript draws it."""
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n" * 9
    )
    with pytest.raises(ValueError, match="is not a picture"):
        read_picture(tmp_path / "a.png")


def test_notes_are_logged_once(caplog):
    caplog.set_level(logging.WARNING)
    read_picture(CASES / "truth_rgb.png")
    assert not caplog.records


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_keeps_its_depth(tmp_path, bits, channels):
    """Pillow reads 8 bits of 10 and 12."""
    white = 2**bits - 1
    values = np.linspace(0, white, 24 * 32 * channels).reshape(24, 32, channels).round()
    values = values.astype(np.uint8 if bits == 8 else np.uint16)
    content = imagecodecs.avif_encode(
        values[..., 0] if channels == 1 else values, level=100, bitspersample=bits
    )
    (tmp_path / "a.avif").write_bytes(content)
    found = read_picture(tmp_path / "a.avif")
    planes = [found.pixels] + ([found.alpha[None]] if channels == 4 else [])
    got = torch.cat(planes).permute(1, 2, 0).numpy() * white
    assert found.bits == (8 if bits == 8 else 16)
    assert np.abs(got - values).max() < (
        1.6 if bits == 8 else 0.6
    )  # (its colours may be subsampled)
