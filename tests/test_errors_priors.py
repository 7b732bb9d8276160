"""Wrong networks, priors, their files and guidance are named."""

import pytest
import torch
from small_cases import PICTURE, PIXELWISE, pixelwise, restore_small

from ddrm_fast import Prior
from ddrm_fast.operators import Blur, Denoising, SuperResolution
from ddrm_fast.priors import DenoiserPrior, GaussianPrior, load_prior, wrap_diffusers

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so
NAN = float("nan")


@pytest.mark.parametrize(
    "network, got",
    [
        (lambda x, t: x[:, :2], r"\(2, 2, 8, 8\)"),
        (lambda x, t: x[:1], r"\(1, 3, 8, 8\)"),
        (lambda x, t: x[..., :4], r"\(2, 3, 8, 4\)"),
        (lambda x, t: x.flatten(1), r"\(2, 192\)"),
        (lambda x, t: (x, x), "tuple"),
        (lambda x, t: None, "NoneType"),
        (lambda x, t: x.numpy(), "ndarray"),
    ],
)
def test_outputs_of_the_network(network, got):
    with pytest.raises(ValueError, match=f"^network: expected .*got {got}"):
        restore_small(prior=Prior(network))


@pytest.mark.parametrize("operator", [Denoising(), Blur(torch.rand(3, 3)), SuperResolution(2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8])
def test_dtypes_of_the_network(dtype, operator):
    y = operator.H(PICTURE)
    with pytest.raises(ValueError, match="^out: "):
        restore_small(y, operator, prior=Prior(lambda x, t: x.to(dtype)))


def test_definitions_of_priors():
    with pytest.raises(ValueError, match="^prediction: expected one of eps, x0, v, got 'score'"):
        Prior(pixelwise, prediction="score")
    with pytest.raises(ValueError, match="^network: expected a callable, got str"):
        Prior("network")
    with pytest.raises(ValueError, match="^value_range: expected low < high"):
        DenoiserPrior(lambda x, sigma: x, (1.0, 0.0))
    with pytest.raises(ValueError, match=r"^power:\s+this\s+prior\s+is\s+for"):
        restore_small(prior=GaussianPrior(torch.ones(4, 4)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, NAN, 1e6])
def test_levels_of_denoise(sigma):
    with pytest.raises(ValueError, match="^sigma: expected"):
        PIXELWISE.denoise(PICTURE, sigma)
    if not sigma > 1:
        with pytest.raises(ValueError, match="^sigma: expected > 0"):
            DenoiserPrior(lambda x, s: x).denoise(PICTURE, sigma)


def test_levels_of_denoise_are_one_or_one_for_each():
    for prior in (PIXELWISE, DenoiserPrior(lambda x, s: x)):
        with pytest.raises(ValueError, match=r"^sigma: expected one number or \[2\], got 3"):
            prior.denoise(PICTURE, torch.full((3,), 0.5))


def test_settings_of_diffusers():
    class Model:
        config = type("Config", (), {"in_channels": 3})
        dtype = torch.float32

    with pytest.raises(ValueError, match="^prediction_type: expected one of epsilon"):
        wrap_diffusers(Model(), {"prediction_type": "score"})
    with pytest.raises(ValueError, match="^beta_schedule: 'laplace' is not known"):
        wrap_diffusers(Model(), {"beta_schedule": "laplace"})


def test_paths_of_priors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file.*known names: default, gaussian"):
        load_prior("celeba")
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors': no such file or folder"):
        load_prior(tmp_path / "no.safetensors")
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"weights\.onnx: expected a file written by"):
        load_prior(weights)
    (tmp_path / "folder").mkdir()
    with pytest.raises((FileNotFoundError, ImportError), match="diffusers"):
        load_prior(tmp_path / "folder")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      ", bytes(200)])
def test_damaged_files_of_priors(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        load_prior(path)


def test_guidance_of_a_wrong_shape():
    with pytest.raises(ValueError, match="^guidance: expected"):
        restore_small(guidance=lambda x, t, labels: x[:, :1])
    with pytest.raises(ValueError, match="^guidance: expected"):
        restore_small(guidance=lambda x, t, labels: None)
