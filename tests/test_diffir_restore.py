"""Restoration of any size: bands and tiles, samples, masks, precision, bad input."""

import golden_diffir as golden
import pytest
import torch
from golden_diffir import HERE, assert_golden

from ddrm_fast import diffir
from ddrm_fast.diffir.bands import Bands, Plan, encode, map_bytes

PLANS = {
    "one band": Plan(),
    "bands of four rows": Plan(1),
    "values computed twice": Plan(1, recompute=True),
}


@pytest.fixture(scope="module")
def deblurring():
    network, arrays, meta = golden.network(HERE / "deblur_S2.npz")
    return network, arrays, meta


@torch.no_grad()
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("path", golden.networks(), ids=lambda path: path.stem)
def test_bands_give_the_published_output(path, plan):
    network, arrays, meta = golden.network(path)
    out = Bands(network.G, PLANS[plan])(arrays["x"], arrays["ipr"])
    assert_golden(out, arrays["out"], meta["floor"])
    first = hasattr(network, "E")
    encoder = network.E if first else network.condition
    vector = encode(encoder, arrays["x"], arrays["gt"] if first else None, numbers=1)
    assert_golden(vector, arrays["ipr" if first else "c"], meta["floor_ipr"])


def _whole(network, x, x_T):
    with torch.no_grad():
        return network(x, x_T=x_T)


def test_any_size_is_the_padded_picture_cropped():
    network, arrays, meta = golden.network(HERE / "realsr_x4_S2.npz")
    given = diffir.restore(network, arrays["odd_x"], x_T=arrays["odd_x_T"][:, None])
    assert_golden(given.mean, arrays["odd_out"], meta["floor"])
    for height, width in ((1, 1), (3, 40), (5, 9)):  # the published code cannot pad these
        small = diffir.restore(network, torch.rand(1, 3, height, width))
        assert small.mean.shape == (1, 3, 4 * height, 4 * width)
        assert torch.isfinite(small.mean).all()


def test_bands_of_a_larger_picture(deblurring):
    network, _, _ = deblurring
    y, x_T = torch.rand(1, 3, 104, 72), torch.randn(1, 1, 256)
    expected = _whole(network, y, x_T[:, 0])
    for recompute in (False, True):
        out = diffir.restore(network, y, x_T=x_T, band=60_000, recompute=recompute)
        assert_golden(out.mean, expected)
    assert out.map_bytes == map_bytes(network.config, 104, 72, Plan(recompute=True))


def test_samples_and_seeds(deblurring):
    network, _, _ = deblurring
    y = torch.rand(2, 3, 17, 30)
    result = diffir.restore(network, y, num_samples=3, seed=4)
    assert result.samples.shape == (2, 3, 3, 17, 30) and result.priors.shape == (2, 3, 256)
    assert torch.equal(result.mean, result.samples.mean(dim=1))
    assert result.std is not None and float(result.std.max()) > 1e-3
    alone = diffir.restore(network, y[1:], num_samples=2, seed=5)
    assert_golden(alone.samples[0], result.samples[1, :2])
    assert diffir.restore(network, y[:1], seed=torch.tensor([4])).std is None


def test_inpainting_keeps_known_pixels():
    config = diffir.PRESETS["inpainting"]
    small = diffir.DiffIRConfig(
        "inpainting", inp_channels=4, dim=8, num_blocks=(1, 1, 1, 1), n_encoder_res=0,
        ffn_expansion_factor=config.ffn_expansion_factor,
    )  # fmt: skip
    network = diffir.build(small).eval()
    y, mask = torch.rand(1, 3, 13, 18), (torch.rand(1, 1, 13, 18) > 0.6).float()
    out = diffir.restore(network, y, mask=mask).mean
    known = (mask == 0).expand_as(y)
    assert torch.equal(out[known], y[known]) and not torch.equal(out, y)
    hidden = torch.where(known, y, torch.rand_like(y))
    assert torch.equal(diffir.restore(network, hidden, mask=mask).mean, out)


def test_tiles(deblurring):
    """One tile is the whole picture; several come close to it."""
    network, _, _ = deblurring
    y = torch.rand(1, 3, 64, 80)
    exact = diffir.restore(network, y).mean
    one = diffir.restore(network, y, mode="tiles", tile=80, overlap=16).mean
    assert_golden(one, exact)
    tiled = diffir.restore(network, y, mode="tiles", tile=40, overlap=16).mean
    assert 0 < float((tiled - exact).norm() / exact.norm()) < 0.3  # random weights, tiny tiles
    with pytest.raises(ValueError, match="overlap: got 40"):
        diffir.restore(network, y, mode="tiles", tile=40, overlap=40)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(deblurring, dtype):
    network, arrays, _ = golden.network(HERE / "deblur_S2.npz")
    y, x_T = arrays["x"], arrays["x_T"][:, None]
    exact = diffir.restore(network, y, x_T=x_T).mean
    stored = diffir.restore(network, y, x_T=x_T, storage=dtype).mean
    computed = diffir.restore(network.to(dtype), y, x_T=x_T).mean
    limit = 0.05 if dtype == torch.bfloat16 else 0.01
    for other in (stored, computed):
        assert other.dtype == torch.float32
        assert 0 < float((other - exact).norm() / exact.norm()) < limit


@torch.no_grad()
def test_channels_last_and_compile(deblurring):
    network, arrays, meta = deblurring
    x, x_T = arrays["x"], arrays["x_T"]
    last = golden.network(HERE / "deblur_S2.npz")[0].to(memory_format=torch.channels_last)
    assert_golden(
        last(x.to(memory_format=torch.channels_last), x_T=x_T), arrays["out"], meta["floor"]
    )
    compiled = torch.compile(network.G, backend="aot_eager", fullgraph=True)
    assert_golden(compiled(x, arrays["ipr"]), arrays["out"], meta["floor"])


def test_arguments_are_checked(deblurring):
    network, arrays, _ = deblurring
    y = arrays["x"]
    first = golden.network(HERE / "inpainting_S1.npz")[0]
    for call, message in (
        (lambda: diffir.restore(first, y), "network: got DiffIRS1, expected stage 2"),
        (lambda: diffir.restore(network, y[:, :2]), r"y: got shape .*expected \(B, 3, H, W\)"),
        (lambda: diffir.restore(network, y[..., :0]), "y: got shape"),
        (lambda: diffir.restore(network, y.byte()), "y: got torch.uint8"),
        (lambda: diffir.restore(network, y / 0), "y: has NaN or infinite entries"),
        (
            lambda: diffir.restore(network, y, mask=y[:, :1]),
            "mask: got one, but the network is for d",
        ),
        (lambda: diffir.restore(network, y, num_samples=0), "num_samples: got 0"),
        (lambda: diffir.restore(network, y, mode="whole"), "mode: got 'whole'"),
        (lambda: diffir.restore(network, y, x_T=y), "x_T: got shape"),
        (
            lambda: diffir.restore(network, y, seed=torch.ones(2)),
            "seed: expected a number or int64",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    config = diffir.DiffIRConfig(
        "inpainting", inp_channels=4, dim=8, num_blocks=(1, 1, 1, 1), n_encoder_res=0
    )
    painter = diffir.build(config).eval()
    with pytest.raises(ValueError, match="mask: got None, but the network is for inpainting"):
        diffir.restore(painter, y)
    with pytest.raises(ValueError, match=r"mask: got shape \(2, 3, 24, 16\)"):
        diffir.restore(painter, y, mask=y)
