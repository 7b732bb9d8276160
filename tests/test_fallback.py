"""Out of memory: less at a time, the same pictures. Half precision that fails: again in float32."""

import pytest
import torch
from small_cases import PICTURE, restore_small

from ddrm_fast import Prior, classifier_free
from ddrm_fast.large import windowed
from ddrm_fast.operators import Denoising, Inpainting
from ddrm_fast.priors import accelerated, load_prior
from ddrm_fast.priors.grey import for_channels
from ddrm_fast.problems import Problem
from ddrm_fast.samplers.fallback import fits_black


def limited(pictures, pixels=10**9, tried=None):
    """A network of each pixel that has memory for so many pictures of so many pixels."""

    def network(x_t, t, labels=None):
        if tried is not None:
            tried.append(tuple(x_t.shape))
        if len(x_t) > pictures or x_t[0, 0].numel() > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")
        return 0.3 * x_t

    return Prior(network, name="limited")


def test_smaller_batches_give_the_same_pictures():
    y, tried = torch.rand(7, 3, 8, 8), []
    expected = restore_small(y, prior=limited(100), num_samples=3)
    with pytest.warns(UserWarning) as warned:
        result = restore_small(y, prior=limited(2, tried=tried), num_samples=3)
    assert torch.equal(result.samples, expected.samples)
    assert torch.equal(result.std, expected.std)
    said = [str(warning.message) for warning in warned]
    assert said == [
        "memory is not enough for 7 pictures at a time; going on with 3",
        "memory is not enough for 3 pictures at a time; going on with 1",
    ]
    sizes = [shape[0] for shape in tried]
    assert sizes[:2] == [7, 3] and set(sizes[2:]) == {1}  # what did not fit is not tried again


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_memory_of_the_machine_counts_too(error):
    def network(x_t, t):
        if len(x_t) > 1:
            raise error
        return 0.3 * x_t

    with pytest.warns(UserWarning, match="memory is not enough for 2 pictures at a time"):
        restore_small(prior=Prior(network))


def test_other_errors_of_a_network_pass():
    def network(x_t, t):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="^shapes cannot be multiplied"):
        restore_small(prior=Prior(network))


def test_one_picture_alone_goes_through_in_tiles():
    y, tried = torch.rand(2, 3, 200, 300), []
    expected = restore_small(y, prior=limited(100))
    with pytest.warns(UserWarning) as warned:
        result = restore_small(y, prior=limited(1, 80 * 140, tried))
    assert torch.allclose(result.samples, expected.samples, atol=1e-6)
    said = [str(warning.message) for warning in warned]
    assert [text.partition(" (")[0] for text in said] == [
        "memory is not enough for 2 pictures at a time; going on with 1",
        "memory is not enough for one picture; going on with the network in tiles of 150 pixels",
        "memory is not enough for one picture; going on with the network in tiles of 75 pixels",
    ]
    assert {shape[2:] for shape in tried[-5:]} == {(64, 64)}


def test_memory_that_is_never_enough():
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError) as raised:
        restore_small(torch.rand(1, 3, 200, 200), prior=limited(0))
    said = str(raised.value)
    assert said.startswith("memory is not enough for one picture") and "7 GiB" in said
    assert "windows" in said and "half precision" in said
    with pytest.raises(torch.OutOfMemoryError, match="not even with the network in tiles"):
        restore_small(PICTURE[:1], prior=limited(0))


def test_the_default_prior_goes_on_in_tiles(monkeypatch):
    """Also in tiles too small for the reach of its network."""
    prior = load_prior()
    real = prior.network

    def network(x_t, t, labels=None):
        if x_t.shape[-1] > 64:
            raise torch.OutOfMemoryError("no memory at all")
        return real(x_t, t, labels)

    y = torch.full((1, 3, 80, 160), 0.4)
    expected = restore_small(y, prior=prior).mean
    monkeypatch.setattr(prior, "network", network)
    with pytest.warns(UserWarning, match="tiles of 80"):
        assert (restore_small(y, prior=prior).mean - expected).square().mean().sqrt() < 0.01


class Half(torch.nn.Module):
    """Makes NaN, infinity or black of bright pictures in half precision, and only there."""

    def __init__(self, broken):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)
        self.broken, self.dtypes = broken, []

    def forward(self, x, t, labels=None):
        y = self.layer(x)
        self.dtypes.append(y.dtype)
        bright = (x.flatten(1).mean(1) > 0).view(-1, 1, 1, 1) & (y.dtype != torch.float32)
        return torch.where(bright & (t.view(-1, 1, 1, 1) < 100), self.broken, 0.3 * x)


def half_and_whole(broken):
    """A prior in bfloat16 with a broken network, and the same in float32."""
    prior = Prior(Half(broken), "x0", name="half")
    return accelerated(prior, autocast=torch.bfloat16), prior


BRIGHT = torch.stack((PICTURE[0] * 0.2, 0.8 + PICTURE[1] * 0.2, PICTURE[1] * 0.3))


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -9.0], ids=["nan", "inf", "black"])
def test_half_precision_that_fails_is_drawn_again(broken):
    half, whole = half_and_whole(broken)
    good, _ = half_and_whole(0.0)
    with pytest.warns(UserWarning, match="of 1 of 3 with half; they are drawn again in float32"):
        result = restore_small(BRIGHT, sigma_y=0.3, prior=half).samples[0]
    exact = restore_small(BRIGHT, sigma_y=0.3, prior=whole).samples[0]
    assert torch.equal(result[1], exact[1])
    untouched = restore_small(BRIGHT, sigma_y=0.3, prior=good).samples[0]
    assert torch.equal(result[[0, 2]], untouched[[0, 2]])
    assert set(whole.network.dtypes) == {torch.bfloat16, torch.float32}


def test_black_stays_where_the_measurement_is_black(recwarn):
    prior = Prior(lambda x, t: torch.full_like(x, -2.0), "x0", name="night")
    half = accelerated(prior, autocast=torch.bfloat16)
    known = Inpainting(torch.ones(8, 8))
    result = restore_small(torch.zeros(1, 3, 8, 8), known, 0.0, half)
    assert float(result.samples.max()) == 0 and not recwarn.list


def test_what_fits_black():
    y = torch.stack([torch.full((3, 8, 8), level) for level in (0.0, 0.05, 0.2)])

    def fits(sigma_y):
        return fits_black(Problem.of(y, Denoising(), torch.tensor(sigma_y)))

    assert fits([0.0]) == [True, False, False]
    assert fits([0.05]) == [True, True, False]
    assert fits([0.0, 0.0, 0.2]) == [True, False, True]


def test_without_float32_there_is_an_error():
    prior = Prior(Half(float("nan")).bfloat16(), "x0", name="alone")
    call = Prior(lambda x, t: prior.network(x.bfloat16(), t), "x0", name="alone")
    with pytest.raises(FloatingPointError, match="^prior: the network of alone led to"):
        restore_small(BRIGHT, Denoising(), 0.5, call)


def test_memory_that_runs_out_in_float32_too():
    """The second attempt falls back as the first does."""
    half, _ = half_and_whole(float("nan"))
    inner = half.network

    def network(x, t):
        out = inner(x, t)
        if len(x) > 1 and not torch.is_autocast_enabled("cpu"):
            raise torch.OutOfMemoryError("full")
        return out

    half.network = network
    bright = 0.8 + torch.rand(3, 3, 8, 8) * 0.2
    with (
        pytest.warns(UserWarning, match="they are drawn again in float32"),
        pytest.warns(UserWarning, match="memory is not enough for 3 pictures at a time"),
    ):
        result = restore_small(bright, sigma_y=0.5, prior=half).samples
    assert torch.isfinite(result).all()


def test_the_float32_version_follows_the_prior(monkeypatch):
    half, whole = half_and_whole(0.0)
    assert whole.in_float32() is None and half.precision == "bfloat16"
    assert half.in_float32().precision == "float32"
    assert half.in_float32().network is half.network
    assert windowed(half, 64, 16).in_float32().whole.precision == "float32"
    assert windowed(whole, 64, 16).in_float32() is None
    half.num_classes = 1
    guided = classifier_free(half, 2.0, 0)
    assert guided.in_float32().network is guided.network
    grey = for_channels(accelerated(load_prior(), autocast=torch.bfloat16), 1)
    assert grey.in_float32().channels == 1 and grey.in_float32().in_float32() is None
    unsure = Prior(lambda x, t: x, precision="auto")
    monkeypatch.setitem(unsure._fastest, "cpu", "bfloat16")
    assert unsure.in_float32().precision == "float32"
    monkeypatch.setitem(unsure._fastest, "cpu", "float32")
    assert unsure.in_float32() is None
