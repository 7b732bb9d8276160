"""Crops drawn on a device are those that processors cut, to the rounding of 8 bits."""

import numpy as np
import pytest
import torch
from PIL import Image

from ddrm_fast.training.data import device_crops
from ddrm_fast.training.data.crops import CropConfig, CropSource
from ddrm_fast.training.data.device_crops import DeviceCrops
from ddrm_fast.training.data.packs import pack
from ddrm_fast.training.denoiser import Trainer, TrainingConfig


def picture(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def source(config: CropConfig, leaves_share: float = 0.0) -> CropSource:
    photographs = pack(picture(n, 50 + 9 * n, 70 - 5 * n) for n in range(4))
    photographs.groups = [1, 3]
    leaves = pack([np.full((40, 40, 3), 7, np.uint8)])
    return CropSource(photographs, leaves, leaves_share, config, seed=3)


def drawn(config: CropConfig, count: int = 64, leaves_share: float = 0.0, seed: int = 1):
    crops = DeviceCrops(source(config, leaves_share), torch.device("cpu"))
    return crops.batch(torch.Generator().manual_seed(seed), count)


@pytest.mark.parametrize(
    "side, inner, patch", [(32, 16, 16), (21, 16, 16), (9, 9, 16), (11, 5, 16)]
)
def test_scaling_is_pillows(side, inner, patch):
    square = picture(5, 40, 40)[3 : 3 + side, 2 : 2 + side]
    expected = Image.fromarray(square)
    for size in (inner, patch):
        expected = expected.resize((size, size), Image.Resampling.BICUBIC)
    window = torch.full((1, 3, 40, 40), 99.0)  # what lies beyond the square has no say
    window[..., :side, :side] = torch.from_numpy(square.copy()).permute(2, 0, 1)
    got = device_crops._scaled(window, torch.tensor([side]), torch.tensor([inner]), patch)
    error = got[0].permute(1, 2, 0).numpy() - np.asarray(expected, np.float32)
    assert np.abs(error).max() <= 2  # (Pillow rounds between rows and columns too)
    assert np.abs(error).mean() < 0.35


def test_unscaled_crops_are_pieces_of_the_pictures():
    config = CropConfig(patch=8, scale_low=1, scale_high=1, smooth_share=0)
    pictures = [source(config).photographs[n].astype(np.float32) for n in range(4)]
    pieces = {
        np.ascontiguousarray(p[y : y + 8, x : x + 8]).tobytes()
        for p in pictures
        for y in range(p.shape[0] - 7)
        for x in range(p.shape[1] - 7)
    }
    for crop in drawn(config):
        ways = [np.rot90(crop.permute(1, 2, 0).numpy(), k) for k in range(4)]
        ways += [way[:, ::-1] for way in ways]
        assert any(np.ascontiguousarray(way).tobytes() in pieces for way in ways)


def test_shares_and_leaves_are_kept():
    leaves = (drawn(CropConfig(patch=8), 400, leaves_share=0.25) == 7).flatten(1).all(1)
    assert 60 <= int(leaves.sum()) <= 140
    crops = DeviceCrops(source(CropConfig(patch=8, shares=(3, 1))), torch.device("cpu"))
    numbers = crops._pictures(
        torch.linspace(0, 0.999, 1000)[:, None], torch.zeros(1000, 1, dtype=bool)
    )
    counts = torch.bincount(numbers[:, 0], minlength=4)
    assert counts.tolist() == pytest.approx([750, 83, 83, 84], abs=2)


def test_the_crop_with_the_most_detail_is_taken():
    flat, rough = np.full((60, 60, 3), 128, np.uint8), picture(1, 60, 60)
    data = CropSource(
        pack([flat, rough]), pack([]), 0.0, CropConfig(patch=8, smooth_share=0, detail=6), 0
    )
    crops = DeviceCrops(data, torch.device("cpu")).batch(torch.Generator().manual_seed(0), 200)
    flats = (crops == 128).flatten(1).all(1).sum()
    assert flats < 15  # 1/64 of them; half without a choice


def test_statistics_are_those_of_the_processors_crops():
    config = CropConfig(patch=16, scale_low=0.5, scale_high=0.9, smooth_share=0.5, smooth_high=6)
    mine = drawn(config, 2000)
    theirs = torch.from_numpy(source(config).batch(0, 2000)).permute(0, 3, 1, 2).float()
    for measure in (
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.flatten(1).std(1),
        lambda x: x.diff(dim=3).abs().mean((1, 2, 3)),
    ):
        a, b = measure(mine), measure(theirs)
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert abs(a.mean() - b.mean()) < 4 * error


def test_a_run_learns_from_them_and_goes_on(tmp_path):
    from ddrm_fast.priors.networks.denoiser import DenoiserConfig
    from ddrm_fast.training.denoiser import train

    crops = CropConfig(patch=16, detail=2)
    config = TrainingConfig(
        model=DenoiserConfig(channels=(8, 8)), crops=crops, leaves_share=0.3, batch=8, steps=6,
        decay_steps=2, warmup=1, crops_on="device",
    )  # fmt: skip
    whole = train(config, source(crops, 0.3), tmp_path / "whole")
    train(config, source(crops, 0.3), tmp_path / "parts", stop_at=3)
    parts = train(config, source(crops, 0.3), tmp_path / "parts", resume=True)
    assert isinstance(parts, Trainer) and parts.step == whole.step == 6
    for a, b in zip(whole.mean.parameters(), parts.mean.parameters(), strict=True):
        assert torch.equal(a, b)


def test_other_places_are_refused():
    with pytest.raises(ValueError, match="crops_on: got 'gpu', expected 'cpu' or 'device'"):
        TrainingConfig(crops_on="gpu")
