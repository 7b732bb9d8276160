"""One loop over the whole picture, its network evaluated in tiles."""

from copy import copy

import pytest
import torch
from small_cases import FAST, GAUSSIAN, PIXELWISE, pictures, seeded

from ddrm_fast import DenoiserPrior, Prior, degrade, load_prior, restore
from ddrm_fast.large import windowed
from ddrm_fast.operators import Blur, Denoising, SuperResolution, WalshHadamardCS, motion_kernel
from ddrm_fast.priors.networks.denoiser import Denoiser, DenoiserConfig
from ddrm_fast.priors.tiled import tiles

WEIGHT = 0.1 * seeded(3, 3, 3, 3, dtype=torch.float32)


def neighbours(x_t, t, labels=None):
    """Two 3 x 3 convolutions with another scale for every picture: reaches two pixels."""
    hidden = torch.nn.functional.conv2d(x_t, WEIGHT, padding=1).relu()
    return torch.nn.functional.conv2d(hidden, WEIGHT, padding=1) * (1 + t.view(-1, 1, 1, 1) / 1000)


@pytest.mark.parametrize(
    "length, size, overlap, halo, multiple",
    [
        (64, 16, 4, 0, 1),
        (61, 16, 7, 2, 1),
        (64, 32, 16, 8, 8),
        (71, 32, 16, 4, 8),
        (16, 16, 4, 0, 1),
        (5, 16, 4, 2, 1),
        (40, 32, 16, 8, 1),
        (33, 16, 0, 0, 1),
    ],
)
def test_tiles_share_every_place(length, size, overlap, halo, multiple):
    total = torch.zeros(length, dtype=torch.float64)
    found = tiles(length, size, overlap, halo, multiple)
    for tile in found:
        assert 0 <= tile.start < tile.stop <= length and tile.start % multiple == 0
        assert tile.stop - tile.start < size + multiple
        assert bool((tile.weight >= 0).all())
        total[tile.start : tile.stop] += tile.weight
        first, last = tile.support
        assert first >= (halo if tile.start else 0)
        assert last <= tile.stop - tile.start - (halo if tile.stop < length else 0)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert (len(found) == 1) == (length <= size or length - size < multiple)


def test_shares_change_smoothly():
    for tile in tiles(96, 32, 16):
        assert float(tile.weight.diff().abs().max()) < 0.11
    core = tiles(96, 32, 16, halo=8)[1].weight
    assert sorted(set(core.tolist())) == [0.0, 1.0]


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_tiles_with_a_halo_give_the_whole_evaluation(batch):
    """Timesteps and labels of several pictures go with their tiles."""
    prior = Prior(neighbours)
    x, t = seeded(2, 3, 37, 50, dtype=torch.float32), torch.tensor([10.0, 700.0])
    joint = windowed(prior, 16, overlap=4, halo=2, batch=batch)
    torch.testing.assert_close(joint(x, t), prior(x, t))
    blended = windowed(prior, 16, overlap=10, halo=2, batch=batch)
    torch.testing.assert_close(blended(x, t), prior(x, t))
    too_little = windowed(prior, 16, overlap=2, halo=1)
    assert float((too_little(x, t) - prior(x, t)).abs().max()) > 1e-3


def test_reach_of_the_denoiser_is_its_receptive_field():
    for config in (
        DenoiserConfig((4, 4, 4), (1, 2, 1), 8),
        DenoiserConfig((4, 4), 1, 8),
        DenoiserConfig((4,), 2, 8),
        DenoiserConfig((4, 4, 4), 1, 8),
    ):
        network = Denoiser(config)
        torch.nn.init.normal_(network.net.tail.weight)
        reach, block = config.reach, config.multiple
        side = 2 * reach + block
        x = torch.randn(1, 3, side, side).requires_grad_()
        out = network(x, torch.tensor([1.0]))[..., reach : reach + block, reach : reach + block]
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        touched = gradient.abs().sum((0, 1)).nonzero()
        low, high = touched.min(0).values, touched.max(0).values
        assert bool((low < block).all()) and bool((high >= side - block).all()), config
    assert load_prior().denoiser.config.reach == 192


def test_the_default_prior_in_tiles_is_the_default_prior():
    """With its own halo of 192 pixels; on a side that is no multiple of 16, which the network pads."""
    prior = load_prior()
    x, t = torch.randn(1, 3, 24, 499), torch.tensor([400.0])
    joint = windowed(prior, 400)
    whole = prior(x, t)
    torch.testing.assert_close(joint(x, t), whole, rtol=0, atol=2e-6)
    assert not torch.equal(windowed(prior, 400, overlap=16, halo=0)(x, t), whole)
    sigma = torch.tensor([0.3])
    torch.testing.assert_close(joint.denoise(x, sigma), prior.denoise(x, sigma), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "operator",
    [
        Denoising(),
        SuperResolution(4),
        Blur(motion_kernel(5, 30.0)),
        WalshHadamardCS((32, 32), 4),
    ],
    ids=repr,
)
def test_restoring_with_tiles_is_restoring_the_whole(operator):
    """Every operator acts on the whole picture; here its result has to be that of the whole network."""
    y = degrade(pictures(1, 3, 32, 32), operator, 0.05)
    prior = Prior(neighbours)
    whole = restore(y, operator, 0.05, prior, FAST, num_samples=2, clamp=False)
    joint = restore(
        y, operator, 0.05, windowed(prior, 16, overlap=6, halo=2), FAST, num_samples=2, clamp=False
    )
    torch.testing.assert_close(joint.samples, whole.samples, rtol=1e-3, atol=1e-4)


def test_predictions_channels_and_labels_go_through():
    seen = []

    def network(x_t, t, labels):
        seen.append((tuple(x_t.shape), labels.tolist()))
        shift = labels.view(-1, 1, 1, 1).to(x_t)
        return torch.cat((x_t + shift, torch.zeros_like(x_t)), dim=1)

    prior = Prior(network, "v", channels=3, name="classes", num_classes=4)
    joint = windowed(prior, 8, overlap=4, batch=2)
    assert (joint.prediction, joint.channels, joint.name, joint.num_classes) == (
        "v", 3, "classes", 4,
    )  # fmt: skip
    x, labels = torch.randn(2, 3, 8, 20), torch.tensor([1, 3])
    out = joint(x, torch.zeros(2), labels)
    assert out.shape == (2, 6, 8, 20)
    torch.testing.assert_close(out[:, :3], x + labels.view(-1, 1, 1, 1))
    assert seen[0] == ((4, 3, 8, 8), [1, 3, 1, 3])


def test_denoising_with_one_level_for_all_and_one_each():
    prior = DenoiserPrior(lambda x, sigma: x / (1 + sigma.view(-1, 1, 1, 1)), (-1.0, 1.0))
    joint = windowed(prior, 8, overlap=4)
    x = torch.randn(2, 3, 8, 20)
    torch.testing.assert_close(joint.denoise(x, 0.5), prior.denoise(x, 0.5))
    each = torch.tensor([0.1, 2.0])
    torch.testing.assert_close(joint.denoise(x, each), prior.denoise(x, each))
    with pytest.raises(ValueError, match=r"sigma: expected one number or \[2\], got 3"):
        joint.denoise(x, torch.ones(3))


def test_the_precision_of_the_prior_is_that_of_its_tiles():
    seen = []

    def network(x_t, t, labels=None):
        product = torch.nn.functional.conv2d(x_t, WEIGHT, padding=1)
        seen.append(product.dtype)
        return product

    prior = Prior(network, precision="bfloat16")
    joint = windowed(prior, 8, overlap=4)
    x, t = torch.randn(1, 3, 8, 20), torch.zeros(1)
    assert joint(x, t).dtype == torch.float32 and set(seen) == {torch.bfloat16}
    joint.precision = "float32"  # as a fall-back does
    seen.clear()
    joint(x, t)
    assert set(seen) == {torch.float32} and prior.precision == "bfloat16"


def test_a_small_picture_is_evaluated_whole():
    x, t = torch.randn(1, 3, 12, 15), torch.tensor([300.0])
    assert torch.equal(windowed(GAUSSIAN, 16)(x, t), GAUSSIAN(x, t))


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"prior": 3}, "prior: expected a Prior, got int"),
        ({"size": 0}, "size: expected an integer >= 1"),
        ({"overlap": 16}, "overlap: 16 leaves nothing of a tile of 16 x 16"),
        ({"overlap": -1}, "overlap: expected an integer >= 0, got -1"),
        ({"overlap": 6, "halo": 4}, "halo: twice 4 does not fit into an overlap of 6"),
        ({"multiple": 3}, "size: expected a multiple of 3, got 16"),
        ({"multiple": 0}, "multiple: expected an integer >= 1, got 0"),
        ({"multiple": 8, "overlap": 4}, "overlap: expected a multiple of 8, got 4"),
        ({"batch": 0}, "batch: expected an integer >= 1, got 0"),
    ],
)
def test_wrong_tiles(keywords, message):
    with pytest.raises(ValueError, match=message):
        windowed(**{"prior": PIXELWISE, "size": 16, **keywords})


def test_a_tile_without_room_for_the_halo_says_so():
    with pytest.raises(ValueError, match="tiles of 256 x 256 leave nothing .* than 384 "):
        windowed(load_prior(), 256)


def test_a_copy_has_a_precision_of_its_own():
    """As a drawing of another precision makes one; the network inside is asked in it."""
    seen = []

    def network(x_t, t):
        seen.append(torch.is_autocast_enabled("cpu"))
        return 0.3 * x_t

    prior = windowed(Prior(network), 16, 4)
    other = copy(prior)
    other.precision = "bfloat16"
    x, t = pictures(1, 3, 24, 24), torch.zeros(1)
    for each, half in ((other, True), (prior, False)):
        seen.clear()
        each.at(x, t)
        assert seen and all(asked == half for asked in seen)
