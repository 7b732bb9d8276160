"""Bad input to the drop-in modules: the message names the argument, what came and what was expected."""

from types import SimpleNamespace

import pytest
import torch
from golden_compat import gaussian_taps, travel_config

from ddrm_fast.compat import ddnm, ddrm

BETAS = torch.linspace(1e-4, 2e-2, 1000)
X = torch.zeros(2, 3, 8, 8)
PERM = torch.randperm(64, generator=torch.Generator().manual_seed(0))
TAPS = gaussian_taps(4, 1.0)
NAN = float("nan")


def _svd(matrix):
    U, s, Vh = torch.linalg.svd(matrix)
    return U, s, Vh.mT


CONSTRUCTORS = [
    ("SuperResolution", (3, 8, 3, "cpu"), r"ratio: expected a divisor of img_dim = 8, got 3"),
    ("SuperResolution", (3, 8, 0, "cpu"), r"ratio: expected an integer >= 1, got 0"),
    ("SuperResolution", (3, 8, 2.0, "cpu"), r"ratio: expected an integer >= 1, got 2.0"),
    ("SuperResolution", (0, 8, 2, "cpu"), r"channels: expected an integer >= 1, got 0"),
    ("Denoising", (3, -8, "cpu"), r"img_dim: expected an integer >= 1, got -8"),
    ("Colorization", (8.5, "cpu"), r"img_dim: expected an integer >= 1, got 8.5"),
    ("WalshHadamardCS", (3, 12, 4, PERM, "cpu"), r"img_dim: expected a power of two, got 12"),
    ("WalshHadamardCS", (3, 8, 3, PERM, "cpu"), r"ratio: expected a divisor of img_dim\^2 = 64"),
    ("WalshHadamardCS", (3, 8, 4, PERM[:9], "cpu"), r"perm: expected all 64 indices.*got 9"),
    (
        "WalshHadamardCS",
        (3, 8, 4, PERM + 1, "cpu"),
        r"perm: expected indices from 0 to 63, got 1 to",
    ),
    (
        "WalshHadamardCS",
        (3, 8, 4, PERM // 2, "cpu"),
        r"perm: expected distinct.* 32 of them repeated",
    ),
    ("Inpainting", (3, 8, torch.tensor([192]), "cpu"), r"missing_indices: expected .* 0 to 191"),
    ("Inpainting", (3, 8, torch.tensor([-1, 2]), "cpu"), r"missing_indices: .* got -1 to 2"),
    ("Inpainting", (3, 8, torch.tensor([5, 5]), "cpu"), r"missing_indices: .* 1 of them repeated"),
    ("Inpainting", (3, 8, torch.tensor([0.5]), "cpu"), r"missing_indices: expected whole numbers"),
    (
        "Inpainting",
        (3, 8, torch.ones(64).bool(), "cpu"),
        r"missing_indices: expected indices \[K\]",
    ),
    ("Inpainting", (3, 8, torch.ones(8, 8), "cpu"), r"missing_indices: expected indices \[K\]"),
    ("SRConv", (TAPS, 3, 8, "cpu", 3), r"stride: expected a divisor of img_dim = 8, got 3"),
    (
        "SRConv",
        (gaussian_taps(20, 3.0), 3, 8, "cpu", 2),
        r"kernel: 20 taps are too many to reflect",
    ),
    ("SRConv", (TAPS[None], 3, 8, "cpu"), r"kernel: expected two or more taps \[L\], got shape"),
    ("Deblurring", (TAPS[:1], 3, 8, "cpu"), r"kernel: expected two or more taps"),
    ("Deblurring", (TAPS * NAN, 3, 8, "cpu"), r"kernel: has NaN or infinite taps"),
    ("Deblurring", (TAPS * 0, 3, 8, "cpu"), r"kernel: .*is all zero"),
    ("Deblurring2D", (TAPS, TAPS[None], 3, 8, "cpu"), r"kernel2: expected two or more taps"),
]


@pytest.mark.parametrize("module", [ddrm, ddnm])
@pytest.mark.parametrize("kind, arguments, message", CONSTRUCTORS, ids=lambda v: str(v)[:24])
def test_constructor(module, kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(module, kind)(*arguments)


@pytest.mark.parametrize(
    "arguments, keywords, message",
    [
        ((3, 48, 0.25, "cpu"), {}, r"img_dim: expected a multiple of 32, got 48"),
        ((3, 32, 1.5, "cpu"), {}, r"ratio: expected 1/1024 to 1, got 1.5"),
        ((3, 32, 0.0, "cpu"), {}, r"ratio: expected 1/1024 to 1, got 0.0"),
        ((3, 32, 0.5, "cpu"), {"basis": torch.eye(1024)[:, :9]}, r"basis: expected \(1024, 512 to"),
        ((3, 32, 0.5, "cpu"), {"basis": torch.ones(1024, 600)}, r"basis: its columns are not orth"),
    ],
)
def test_block_compressed_sensing(arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        ddnm.CS(*arguments, **keywords)


MATRIX = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ddrm.GeneralH([[1.0]]), r"matrix: expected a tensor \(m, N\), got list"),
        (lambda: ddrm.GeneralH(torch.ones(3)), r"matrix: expected a tensor \(m, N\), got \(3,\)"),
        (lambda: ddrm.GeneralH(MATRIX * NAN), r"matrix: has NaN"),
        (lambda: ddrm.GeneralH(MATRIX, basis=_svd(MATRIX + 1)), r"basis: .* is not the matrix"),
        (
            lambda: ddrm.SuperResolution(3, 8, 2, "cpu", basis=torch.eye(3)),
            r"basis: expected \(4, 4\), got \(3, 3\)",
        ),
        (
            lambda: ddrm.SuperResolution(3, 8, 2, "cpu", basis=torch.ones(4, 4)),
            r"basis: is not orthogonal",
        ),
        (
            lambda: ddrm.SuperResolution(3, 8, 2, "cpu", basis=torch.eye(4)),
            r"basis: its first column has to be the measured direction",
        ),
        (
            lambda: ddrm.Deblurring(TAPS, 3, 8, "cpu", basis=_svd(MATRIX)),
            r"basis: U diag\(s\) V\^T is not the matrix of the kernel",
        ),
        (
            lambda: ddrm.Deblurring(TAPS, 3, 8, "cpu", basis=_svd(torch.eye(6))),
            r"basis: expected U \(8, 8\), got \(6, 6\)",
        ),
        (
            lambda: ddrm.Deblurring(TAPS, 3, 8, "cpu", basis=_svd(MATRIX)[:2]),
            r"basis: expected \(U, s, V\), got 2 entries",
        ),
        (
            lambda: ddrm.Deblurring(TAPS, 3, 8, "cpu", order=torch.arange(9)),
            r"order: expected a permutation of 64 indices",
        ),
        (
            lambda: ddrm.Deblurring(TAPS, 3, 8, "cpu", order=torch.arange(64).flip(0)),
            r"order: does not sort the singular values in descending order",
        ),
        (
            lambda: ddrm.Deblurring2D(TAPS, TAPS, 3, 8, "cpu", basis=[_svd(MATRIX)]),
            r"basis: expected two of \(U, s, V\), got 1",
        ),
    ],
)
def test_bases(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _objects():
    return [
        ddrm.Denoising(3, 8, "cpu"),
        ddrm.Inpainting(3, 8, torch.arange(7), "cpu"),
        ddrm.SuperResolution(3, 8, 2, "cpu"),
        ddrm.Colorization(8, "cpu"),
        ddrm.WalshHadamardCS(3, 8, 4, PERM, "cpu"),
        ddrm.SRConv(TAPS, 3, 8, "cpu", 2),
        ddrm.Deblurring(TAPS, 3, 8, "cpu"),
        ddrm.Deblurring2D(TAPS, TAPS, 3, 8, "cpu"),
        ddrm.GeneralH(torch.eye(192)[:50]),
    ]


@pytest.mark.parametrize("H", _objects(), ids=lambda H: type(H).__name__)
def test_vectors_of_the_wrong_length(H):
    entries = H.H(X).shape[1]
    for method in (H.H, H.V, H.Vt):
        with pytest.raises(ValueError, match=r"expected .*\(B, 192\).*got \(2, 191\)"):
            method(torch.zeros(2, 191))
    for method in (H.Ht, H.H_pinv, H.U, H.Ut):
        with pytest.raises(ValueError, match=rf"expected .*\(B, {entries}\).*got \(2, 193\)"):
            method(torch.zeros(2, 193))


H = ddrm.SuperResolution(3, 8, 2, "cpu")
Y = H.H(X)


def restore(**changed):
    arguments = {
        "x": X,
        "seq": range(0, 1000, 250),
        "model": lambda x, t: x,
        "b": BETAS,
        "H_funcs": H,
        "y_0": Y,
        "sigma_0": 0.1,
        "etaB": 1.0,
        "etaA": 0.85,
        "etaC": 0.85,
    }
    return ddrm.efficient_generalized_steps(**(arguments | changed))


class WrongV(ddrm.H_functions):
    def singulars(self):
        return torch.ones(4)

    def Ut(self, vec):
        return vec.flatten(1)

    U = Ut

    def Vt(self, vec):
        return vec.flatten(1)[:, 1:]

    V = Vt


class WrongSingulars(WrongV):
    def singulars(self):
        return torch.full((4,), -1.0)


class TooManySingulars(WrongV):
    def singulars(self):
        return torch.ones(193)


WRONG = [
    ({"x": X[0]}, r"x: expected a tensor \(B, C, H, W\), got \(3, 8, 8\)"),
    ({"x": X.half()}, r"x: expected float32 or float64, got torch.float16"),
    ({"x": torch.zeros(2, 3, 8, 9)}, r"x: expected \(B, 192\) or \(B, 3, 8, 8\), got"),
    ({"y_0": Y[:, :-1]}, r"y_0: expected a measurement \(B, 48\), got \(2, 47\)"),
    ({"y_0": torch.zeros(3, 48)}, r"y_0: expected measurements of a batch of 2 \(or 1\), got \(3"),
    ({"y_0": None}, r"y_0: expected measurements of a batch of 2 \(or 1\), got NoneType"),
    ({"seq": []}, r"seq: expected ascending timesteps from 0 to 999, got \[\]"),
    ({"seq": [500, 0]}, r"seq: expected ascending timesteps"),
    ({"seq": [0, 1000]}, r"seq: expected ascending timesteps from 0 to 999"),
    ({"seq": [-1, 5]}, r"seq: expected ascending timesteps"),
    ({"seq": [0.5]}, r"seq: expected ascending whole timesteps"),
    ({"b": BETAS[None]}, r"b: expected betas \[T\], got torch.float32 \(1, 1000\)"),
    ({"b": BETAS * 100}, r"b: expected betas between 0 and 1"),
    ({"b": BETAS - BETAS[0]}, r"b: expected betas between 0 and 1"),
    ({"b": BETAS * NAN}, r"b: expected betas between 0 and 1"),
    ({"sigma_0": -0.1}, r"sigma_0: expected a finite number >= 0, got -0.1"),
    ({"sigma_0": NAN}, r"sigma_0: expected a finite number >= 0, got nan"),
    ({"etaB": 1.5}, r"etaB: expected 0 <= etaB <= 1, got 1.5"),
    ({"etaA": -0.5}, r"etaA: expected 0 <= etaA <= 1, got -0.5"),
    ({"etaC": NAN}, r"etaC: expected 0 <= etaC <= 1, got nan"),
    (
        {"model": lambda x, t: x[:, :2]},
        r"model: expected \(2, 3, 8, 8\) \(or 6 .*got \(2, 2, 8, 8\)",
    ),
    ({"model": lambda x, t: x[:1]}, r"model: expected \(2, 3, 8, 8\) .*got \(1, 3, 8, 8\)"),
    ({"model": lambda x, t: (x,)}, r"model: expected \(2, 3, 8, 8\) .*got tuple"),
    ({"noise": lambda k: X[0]}, r"noise: expected \(2, 3, 8, 8\) for step 0, got \(3, 8, 8\)"),
    ({"noise": lambda k: 0.0}, r"noise: expected \(2, 3, 8, 8\) for step 0, got float"),
    ({"H_funcs": WrongV()}, r"H_funcs.V: expected \(B, 192\) for images of shape \(3, 8, 8\)"),
    ({"H_funcs": WrongSingulars()}, r"H_funcs.singulars: expected finite values >= 0"),
    (
        {"H_funcs": TooManySingulars()},
        r"H_funcs.singulars: expected at most 48 values, got \(193,\)",
    ),
]


@pytest.mark.parametrize("changed, message", WRONG, ids=[message[:30] for _, message in WRONG])
def test_ddrm_solver(changed, message):
    with pytest.raises(ValueError, match=message):
        restore(**changed)


def test_guidance_of_the_wrong_shape():
    with pytest.raises(
        ValueError, match=r"cls_fn: expected a gradient \(2, 3, 8, 8\), got \(2, 3\)"
    ):
        restore(model=lambda x, t, y: x, cls_fn=lambda x, t, y: torch.zeros(2, 3))


def test_subclass_without_methods():
    with pytest.raises(NotImplementedError, match="H_functions.Ut"):
        restore(H_funcs=ddrm.H_functions())


@pytest.mark.parametrize("method", ["V", "Vt", "U", "Ut", "singulars", "add_zeros", "to_operator"])
def test_each_method_that_a_subclass_does_not_give_is_named(method):
    vec = () if method == "singulars" else (torch.zeros(1, 12),)
    with pytest.raises(NotImplementedError, match=rf"^H_functions\.{method}$"):
        getattr(ddrm.H_functions(), method)(*vec)


A = ddnm.SuperResolution(3, 8, 2, "cpu")


def null_space(**changed):
    arguments = {
        "x": X,
        "model": lambda x, t: x,
        "b": BETAS,
        "eta": 0.85,
        "A_funcs": A,
        "y": Y,
        "sigma_y": 0.1,
        "config": travel_config(5),
    }
    return ddnm.ddnm_plus_diffusion(**(arguments | changed))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"eta": 2.0}, r"eta: expected 0 <= eta <= 1, got 2.0"),
        ({"sigma_y": float("inf")}, r"sigma_y: expected a finite number >= 0, got inf"),
        ({"y": Y[:, 1:]}, r"y: expected a measurement \(B, 48\), got \(2, 47\)"),
        ({"y": torch.zeros(3, 48)}, r"y: expected measurements of a batch of 2"),
        ({"config": None}, r"config: expected diffusion.num_diffusion_timesteps and time_travel"),
        ({"config": SimpleNamespace()}, r"config: expected .*'time_travel'"),
        ({"config": travel_config(0)}, r"T_sampling: expected an integer >= 1, got 0"),
        ({"config": travel_config(5, 0)}, r"travel_length: expected an integer >= 1, got 0"),
        ({"config": travel_config(5, 1, 0)}, r"travel_repeat: expected an integer >= 1, got 0"),
        (
            {"config": travel_config(2000)},
            r"config: 2000 sampling steps of 1000 timesteps do not fit",
        ),
        (
            {"config": travel_config(5, timesteps=4000)},
            r"config: 5 sampling steps of 4000 .* 1000 betas",
        ),
        ({"model": lambda x, t: x[..., :2]}, r"model: expected \(2, 3, 8, 8\)"),
    ],
)
def test_ddnm_solver(changed, message):
    with pytest.raises(ValueError, match=message):
        null_space(**changed)
