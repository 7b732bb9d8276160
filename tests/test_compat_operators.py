"""Operators of the drop-in modules against those of the published code."""

import pytest
import torch
from golden_compat import build, gaussian_taps, load, names, relative

from ddrm_fast.compat import ddrm

LIMIT = 1e-5


def test_all_operators_are_here():
    assert len(names("ddrm", "op")) == 15
    assert len(names("ddnm", "op")) == 16


@pytest.mark.parametrize("name", names("ddrm", "op"))
def test_ddrm(name):
    data, H = load(f"ddrm/op_{name}"), build("ddrm", name)
    y = data["y"]
    assert relative(H.singulars(), data["singulars"]) <= LIMIT
    assert relative(H.H(data["x"]), data["Hx"]) <= LIMIT
    assert relative(H.Ht(y), data["Hty"]) <= LIMIT
    assert ("Hpinv_y" in data) == bool((data["singulars"] > 0).all())
    if "Hpinv_y" in data:
        assert relative(H.H_pinv(y), data["Hpinv_y"]) <= LIMIT
    else:
        # 1/0 counts as 0 here
        assert relative(H.H(H.H_pinv(H.H(data["x"]))), data["Hx"]) <= LIMIT


@pytest.mark.parametrize("name", names("ddnm", "op"))
def test_ddnm(name):
    data, A = load(f"ddnm/op_{name}"), build("ddnm", name)
    y = data["y"]
    assert relative(A.singulars(), data["singulars"]) <= LIMIT
    assert relative(A.A(data["x"]), data["Ax"]) <= LIMIT
    assert relative(A.At(y), data["Aty"]) <= LIMIT
    assert relative(A.A_pinv(y), data["Apinv_y"]) <= LIMIT
    assert relative(A.A_pinv_eta(y, 0.01), data["Apinv_eta_y"]) <= LIMIT


def _lambda_cases():
    return [name for name in names("ddnm", "op") if "Lambda" in load(f"ddnm/op_{name}")]


def test_lambda_files_are_here():
    assert len(_lambda_cases()) == 10


@pytest.mark.parametrize("name", _lambda_cases())
def test_lambda(name):
    data = load(f"ddnm/op_{name}")
    aligned, published = build("ddnm", name), build("ddnm", name, aligned=False)
    vec, eps = data["lam_vec"], data["lam_eps"]
    for case, (a, sigma_y, sigma_t, eta) in enumerate(data["lam_params"]):
        numbers = (a, float(sigma_y), sigma_t, float(eta))
        expected = data["Lambda"][case]
        for A in (aligned, published):
            assert relative(A.Lambda(vec, *numbers), expected) <= LIMIT
        actual = published.Lambda_noise(vec, *numbers, eps)
        assert relative(actual, data["Lambda_noise"][case]) <= LIMIT
        # (the published form is the aligned one for the pixels of Denoising and Inpainting)
        expected = data.get("Lambda_noise_aligned", data["Lambda_noise"])[case]
        assert relative(aligned.Lambda_noise(vec, *numbers, eps), expected) <= LIMIT


@pytest.mark.parametrize("folder", ["ddrm", "ddnm"])
def test_singular_vectors(folder):
    """V and U are orthogonal in the published order: V^T V and U^T U are identities, y = U S V^T x."""
    for name in names(folder, "op"):
        data, H = load(f"{folder}/op_{name}"), build(folder, name)
        x, y = data["x"], data["y"]
        c = H.Vt(x)
        assert relative(H.V(c), x.flatten(1)) <= LIMIT, name
        assert abs(float(c.norm() / x.norm()) - 1) <= LIMIT, name
        assert relative(H.U(H.Ut(y)), y) <= LIMIT, name
        s = H.singulars()
        expected = data["Hx" if folder == "ddrm" else "Ax"]
        assert relative(H.U(s * c[:, : len(s)]), expected) <= LIMIT, name
        padded = H.add_zeros(y)
        assert padded.shape == (len(y), x[0].numel())
        assert torch.equal(padded[:, : y.shape[1]], y) and not padded[:, y.shape[1] :].any()


def test_operators_without_a_given_basis():
    """torch's own decomposition here, not the recorded one: V and the order of ties may differ, but the
    ordered blur, bicubic downscaling and block means do not."""
    blur = load("ddrm/op_deblur_gauss_ordered")
    H = ddrm.Deblurring(gaussian_taps(5, 10.0), 3, 32, "cpu", ordered=True)
    assert relative(H.H(blur["x"]), blur["Hx"]) <= LIMIT
    means = load("ddrm/op_sr4")
    assert relative(ddrm.SuperResolution(3, 32, 4, "cpu").H(means["x"]), means["Hx"]) <= LIMIT
    matrix = load("ddrm/op_general")
    assert relative(ddrm.GeneralH(matrix["A"]).H(matrix["x"]), matrix["Hx"]) <= LIMIT
