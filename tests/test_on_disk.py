"""Pictures on disk: the numbers of the same run in memory, also after an interruption."""

import errno
import os
import re
import subprocess
import sys
from functools import partial

import pytest
import torch
from small_cases import PIXELWISE, pixelwise
from test_blocks import damage

from ddrm_fast import DDRM, HQS, Prior, Travel
from ddrm_fast.io import OutputError, blocks
from ddrm_fast.io.blocks import BlockError, BlockPicture, write_blocks
from ddrm_fast.io.files import in_words
from ddrm_fast.large import memory, on_disk, restore_windows
from ddrm_fast.large.on_disk import Degradation, restore_on_disk, survey
from ddrm_fast.operators import (
    Colorization,
    Denoising,
    Gamma,
    Inpainting,
    Saturated,
    SuperResolution,
)
from ddrm_fast.problems.regions import regions
from ddrm_fast.samplers import Clip

pytest.importorskip("zarr", reason="zarr is not installed: pip install ddrm-fast[large]")
pytest.importorskip("tifffile", reason="tifffile is not installed")

SIZE = (96, 120)
FAST = DDRM(steps=3)  # 4 calls of the network
GREY = (0.3, 0.5, 0.2)
RUN = {"sigma_y": 0.1, "prior": PIXELWISE, "sampler": FAST, "window": 48, "stride": 24}


def stored(path, channels=3, factor=1, seed=0, dtype="float32"):
    """A soft random picture in a file, and as tensor."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 6, 7, generator=generator)
    size = tuple(n // factor for n in SIZE)
    x = torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 1)
    write_blocks(path, tuple(x.shape), dtype, lambda t, l, h, w: x[:, t : t + h, l : l + w])
    return x[None]


def whole(path):
    picture = BlockPicture(path)
    return picture.read(0, 0, *picture.size)


MASK = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(3)) > 0.4


def region(top, left, height, width):
    return MASK[:, top : top + height, left : left + width]


def with_mask(factor, weights, mask):
    return SuperResolution(factor, weights, mask)


CASES = {
    "noise": (1, 3, Degradation(), Denoising()),
    "inpainting": (1, 3, Degradation(mask=region), Inpainting(MASK[0])),
    "super-resolution": (
        4, 3, Degradation(partial(with_mask, 4, None), 4), SuperResolution(4),
    ),
    "colour": (1, 1, Degradation(partial(with_mask, 1, GREY)), Colorization(GREY)),
    "old photo": (
        2, 1, Degradation(partial(with_mask, 2, GREY), 2, region),
        SuperResolution(2, GREY, MASK[0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_in_memory(tmp_path, name):
    """To the last bit, in a format that holds all bits."""
    factor, channels, degradation, operator = CASES[name]
    y = stored(tmp_path / "y.zarr", channels, factor)
    if name == "inpainting":
        y = y * MASK
    report = restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", degradation, **RUN)
    settings = dict(RUN)
    expected = restore_windows(y, operator, settings.pop("sigma_y"), **settings)
    assert torch.equal(whole(tmp_path / "x.zarr"), expected.samples[0, 0])
    assert sorted(os.listdir(tmp_path)) == ["x.zarr", "y.zarr"]
    assert report.windows == 12 and report.resumed == 0 and not report.lost
    assert report.megapixels == pytest.approx(0.01152)
    assert report.peak_bytes > 0 and report.seconds["all"] >= report.seconds["network"] >= 0


@pytest.mark.parametrize(
    "task, options, operator",
    [("saturate", {"gain": "1.6"}, Saturated(1.6)), ("gamma", {"gamma": "0.5"}, Gamma(0.5))],
)
def test_maps_of_pixels_as_in_memory(tmp_path, task, options, operator):
    """What happens to every pixel alone, without a decomposition."""
    y = stored(tmp_path / "y.zarr")
    settings = {**RUN, "sigma_y": 0.02, "sampler": HQS(steps=3)}
    degradation = regions(task, options, SIZE)
    restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", degradation, **settings)
    expected = restore_windows(y, operator, **settings).mean[0]
    found = whole(tmp_path / "x.zarr")
    assert torch.equal(found, expected.float())
    assert (found - y[0]).abs().mean() > 0.01  # it was not merely copied


def test_settings_reach_the_loop(tmp_path):
    y = stored(tmp_path / "y.zarr")
    more = {
        "travel": Travel(1, 2),
        "clip_x0": True,
        "edits": [Clip(0.25, 0.75)],
        "end_on_measurement": True,
        "batch": 3,
        "margin": 4,
    }
    report = restore_on_disk(
        tmp_path / "y.zarr", tmp_path / "x.zarr", **{**RUN, "order": "columns", "seed": 5}, **more
    )
    settings = {**RUN, "order": "columns", "seed": 5, **more}
    expected = restore_windows(y, Denoising(), settings.pop("sigma_y"), **settings)
    assert torch.equal(whole(tmp_path / "x.zarr"), expected.samples[0, 0])
    assert report.batch == 3


def test_a_depth_of_8_bits_rounds_the_result(tmp_path):
    stored(tmp_path / "y.tif", dtype="uint8")
    y = whole(tmp_path / "y.tif")[None]
    restore_on_disk(tmp_path / "y.tif", tmp_path / "x.tif", **RUN)
    settings = dict(RUN)
    expected = restore_windows(y, Denoising(), settings.pop("sigma_y"), **settings).samples[0, 0]
    assert (whole(tmp_path / "x.tif") - expected).abs().max() <= 0.5 / 255 + 1e-6


def counting(limit=None, calls=None):
    """The network of PIXELWISE, interrupted at a call."""
    calls = [] if calls is None else calls

    def network(x_t, t, labels=None):
        calls.append(len(x_t))
        if limit is not None and len(calls) > limit:
            raise KeyboardInterrupt
        return pixelwise(x_t, t)

    return Prior(network)


@pytest.mark.parametrize("name", ["x.zarr", "x.tif"])
def test_an_interrupted_run_goes_on(tmp_path, name):
    stored(tmp_path / "y.zarr")
    restore_on_disk(tmp_path / "y.zarr", tmp_path / f"whole-{name}", **RUN)
    again = {**RUN, "prior": counting(limit=20)}
    with pytest.raises(KeyboardInterrupt):
        restore_on_disk(tmp_path / "y.zarr", tmp_path / name, **again)
    assert not (tmp_path / name).exists() and (tmp_path / f".{name}.work").is_dir()
    calls = []
    again["prior"] = counting(calls=calls)
    report = restore_on_disk(tmp_path / "y.zarr", tmp_path / name, **again)
    assert 0 < report.resumed < report.waves
    assert len(calls) < 1 + report.windows * 4  # what was finished is not drawn again
    assert torch.equal(whole(tmp_path / name), whole(tmp_path / f"whole-{name}"))
    assert not (tmp_path / f".{name}.work").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"sigma_y": 0.2},
        {"edits": [Clip(0.25)]},
        {"parameters": {"task": "sr"}},
    ],
)
def test_other_settings_start_over(tmp_path, change):
    stored(tmp_path / "y.zarr")
    again = {**RUN, "prior": counting(limit=20)}
    with pytest.raises(KeyboardInterrupt):
        restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **again)
    report = restore_on_disk(
        tmp_path / "y.zarr", tmp_path / "x.zarr", **{**RUN, "prior": counting(), **change}
    )
    assert report.resumed == 0


def test_another_input_starts_over(tmp_path):
    stored(tmp_path / "y.zarr")
    again = {**RUN, "prior": counting(limit=20)}
    with pytest.raises(KeyboardInterrupt):
        restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **again)
    stored(tmp_path / "y.zarr", seed=9)
    again["prior"] = counting()
    assert restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **again).resumed == 0


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """The result cannot be written: the next run writes it without the network."""
    stored(tmp_path / "y.zarr")

    def full(*arguments):
        raise OutputError("x.zarr: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(on_disk, "write_blocks", full)
        with pytest.raises(OutputError, match="No space left"):
            restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **RUN)
    again = {**RUN, "memory": 2**33}
    with monkeypatch.context() as patch:
        patch.setattr(on_disk, "cost_of_window", lambda *arguments: 1)
        calls = []
        patch.setattr(PIXELWISE, "network", counting(calls=calls).network)
        report = restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **again)
    assert report.resumed == report.waves and not calls
    restore_on_disk(tmp_path / "y.zarr", tmp_path / "whole.zarr", **RUN)
    assert torch.equal(whole(tmp_path / "x.zarr"), whole(tmp_path / "whole.zarr"))


def test_a_full_disk_in_the_middle(tmp_path, monkeypatch):
    stored(tmp_path / "y.zarr")
    written, real = [], os.pwrite

    def pwrite(*arguments):
        written.append(1)
        if len(written) > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(
            OutputError, match=r"\.x\.zarr\.work: cannot be written \(No space left"
        ):
            restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **RUN)
    assert restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **RUN).resumed > 0


@pytest.mark.parametrize("name", ["noise", "super-resolution", "colour", "old photo"])
def test_a_damaged_block_counts_as_missing(tmp_path, monkeypatch, caplog, name):
    """The rest is restored as if its pixels had never been measured."""
    monkeypatch.setattr(blocks, "TILE", 12)
    factor, channels, degradation, _ = CASES[name]
    y = stored(tmp_path / "y.zarr", channels, factor)
    damage(tmp_path / "y.zarr")
    with pytest.raises(
        BlockError, match=r"block \(1, 1\), rows 12 to 23, columns 12 to 23, cannot"
    ):
        restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", degradation, **RUN)
    report = restore_on_disk(
        tmp_path / "y.zarr", tmp_path / "x.zarr", degradation, **RUN, keep_going=True
    )
    assert len(report.lost) == 1 and "block (1, 1)" in report.lost[0]
    assert "it is restored as if its pixels were missing" in caplog.text
    known = torch.ones(1, *y.shape[2:])
    known[:, 12:24, 12:24] = 0
    mask = known.repeat_interleave(factor, 1).repeat_interleave(factor, 2) > 0
    if degradation.mask is not None:
        mask = mask & MASK
    settings = dict(RUN)
    expected = restore_windows(
        y * known, degradation.operator(mask[None]), settings.pop("sigma_y"), **settings
    )
    assert torch.equal(whole(tmp_path / "x.zarr"), expected.samples[0, 0])


def test_pictures_that_cannot_be_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "TILE", 12)
    stored(tmp_path / "y.zarr")
    damage(tmp_path / "y.zarr")
    whole_only = Degradation(lambda mask: Denoising(), takes_mask=False)
    with pytest.raises(ValueError, match="no place for missing pixels"):
        restore_on_disk(
            tmp_path / "y.zarr", tmp_path / "x.zarr", whole_only, **RUN, keep_going=True
        )
    for chunk in (tmp_path / "y.zarr/c").rglob("0"):
        if chunk.is_file():
            chunk.write_bytes(b"")
    with pytest.raises(ValueError, match="none of its 80 blocks can be read"):
        restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **RUN, keep_going=True)


def test_bad_arguments(tmp_path):
    stored(tmp_path / "y.zarr")

    def refused(message, **change):
        with pytest.raises(ValueError, match=message):
            restore_on_disk(tmp_path / "y.zarr", tmp_path / "x.zarr", **{**RUN, **change})

    refused("^memory: expected bytes, got 0", memory=0)
    refused("^memory: 1 windows of 48 x 48 take .* [MG]iB are taken; expected", memory=2**26)
    refused("^batch: expected an integer >= 1, got 0", batch=0)
    refused("^window: 100 x 100 is larger than the picture", window=100)
    refused("^stride: 60 is larger than the window of 48", stride=60)
    refused("^labels: custom is a network for classes", prior=Prior(pixelwise, num_classes=3))


def test_noise_is_estimated_from_some_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "TILE", 32)
    x = stored(tmp_path / "y.zarr")[0]
    noisy = (x * 0.6 + 0.2 + 0.05 * torch.randn(x.shape)).clamp(0, 1)
    write_blocks(
        tmp_path / "n.zarr", tuple(x.shape), "float32", lambda t, l, h, w: noisy[:, t : t + h, l : l + w]
    )  # fmt: skip
    found = survey(BlockPicture(tmp_path / "n.zarr"), noise=True)
    assert found.noise == pytest.approx(0.05, rel=0.25) and found.lost == []
    again = survey(BlockPicture(tmp_path / "n.zarr"))
    assert again.sha256 == found.sha256 and again.noise is None
    with pytest.raises(ValueError, match="its noise cannot be estimated"):
        survey(
            BlockPicture(tmp_path / "n.zarr"), noise=True,
            known=lambda top, left, height, width: torch.zeros(1, height, width, dtype=torch.bool),
        )  # fmt: skip


def test_sizes_of_memory():
    found = [memory.bytes_of(text) for text in ("1GiB", "512M", "3e9", "1.5 g", "100")]
    assert found == [2**30, 2**29, 3 * 10**9, 3 * 2**29, 100]
    for text in ("much", "0", "-1", "1XB", "1.2.3G"):
        with pytest.raises(ValueError, match="expected bytes such as 2GiB or 512M"):
            memory.bytes_of(text)


def test_sizes_in_words():
    sizes = (100, 7000, 2**20, 433_000_000, 2**30 - 1, 2**31)
    found = [in_words(size) for size in sizes]
    assert found == ["0.1 KiB", "6.8 KiB", "1.0 MiB", "412.9 MiB", "1024.0 MiB", "2.0 GiB"]


def test_the_memory_that_is_asked_for_is_enough(tmp_path):
    """The number in the message, given back."""
    stored(tmp_path / "y.zarr")
    run = partial(restore_on_disk, tmp_path / "y.zarr", tmp_path / "x.zarr", **RUN)
    with pytest.raises(
        ValueError, match=r"are taken; expected [0-9]+MiB or more, got 16.0 MiB$"
    ) as e:
        run(memory=2**24)
    asked = re.search("expected ([0-9]+MiB)", str(e.value))[1]
    run(memory=memory.bytes_of(asked) + 2**25)  # (what is resident varies a little)


def test_the_cost_of_a_window_is_seen():
    """A network that takes 64 MB for a moment; the system tells so where it lets peaks begin anew.

    In a process of its own: one that has worked before may hold so much already.
    """
    program = """
import torch
from ddrm_fast import Prior
from ddrm_fast.large import memory
from ddrm_fast.machine.memory import forget_peak
held = Prior(lambda x, t: x + torch.ones(2**24).sum() * 0)
print(memory.cost_of_window(held, (3, 16, 16)), int(forget_peak()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    cost, tells = map(int, done.stdout.split())
    assert cost >= 12 * 4 * 3 * 256
    if tells:
        assert 0.9 * 2**26 < cost < 2 * 2**26
