"""The drop-in modules at other sizes, batches, ratios, kernels, etas and noise levels, against formulas."""

import pytest
import textbook_compat as textbook
import torch
from golden_compat import gaussian_taps, relative, travel_config

from ddrm_fast.compat import ddnm, ddrm
from ddrm_fast.compat.schedule import travel_pairs
from ddrm_fast.operators.separable import bicubic_kernel

BETAS = torch.linspace(1e-4, 2e-2, 1000)
STEEP = torch.tensor([0.05, 0.3, 0.5, 0.1])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def permutation(n, seed=0):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _cases():
    """(name, arguments of both modules' classes, the map as a function of pictures, channels, side)."""
    missing = permutation(2 * 144)[:100]
    three = permutation(3 * 49)[:50]
    perm = permutation(64, 1)
    blur, blur2 = torch.tensor([0.1, 0.2, 0.5, 0.2]), gaussian_taps(3, 0.6)
    few = bicubic_kernel(2).float()
    return [
        ("Denoising", (1, 5), lambda x: x.flatten(1), 1, 5),
        ("Inpainting", (2, 12, missing), lambda x: textbook.kept_entries(x, missing), 2, 12),
        ("Inpainting", (3, 7, three), lambda x: textbook.kept_entries(x, three), 3, 7),
        ("SuperResolution", (1, 9, 3), lambda x: textbook.block_means(x, 3), 1, 9),
        ("SuperResolution", (4, 6, 1), lambda x: textbook.block_means(x, 1), 4, 6),
        ("SuperResolution", (3, 8, 8), lambda x: textbook.block_means(x, 8), 3, 8),
        (
            "Colorization",
            (6,),
            lambda x: (x * torch.tensor([0.3333, 0.3334, 0.3333]).view(3, 1, 1)).sum(1).flatten(1),
            3,
            6,
        ),
        ("WalshHadamardCS", (2, 8, 2, perm), lambda x: textbook.hadamard(x, perm[:32]), 2, 8),
        ("WalshHadamardCS", (3, 8, 16, perm), lambda x: textbook.hadamard(x, perm[:4]), 3, 8),
        ("WalshHadamardCS", (1, 8, 1, perm), lambda x: textbook.hadamard(x, perm), 1, 8),
        (
            "SRConv",
            (few, 3, 12, "cpu", 2),
            lambda x: textbook.separable(x, few, few, reflect=True, stride=2),
            3,
            12,
        ),
        ("SRConv", (blur, 2, 9), lambda x: textbook.separable(x, blur, blur, reflect=True), 2, 9),
        ("SRConv", (blur2, 1, 9, "cpu", 3), _reflected(blur2, 3), 1, 9),
    ]


def _reflected(taps, stride):
    return lambda x: textbook.separable(x, taps, taps, reflect=True, stride=stride)


def _blurs():
    even, odd = torch.tensor([0.1, 0.2, 0.5, 0.2]), torch.tensor([0.2, 0.9, 0.4])
    pair = (STEEP, even)
    return [
        ("Deblurring", (even, 3, 8), lambda x: textbook.separable(x, even, even), 3, 8),
        ("Deblurring", (odd, 2, 7), lambda x: textbook.separable(x, odd, odd), 2, 7),
        ("Deblurring2D", (*pair, 3, 9), lambda x: textbook.separable(x, *pair), 3, 9),
        ("Deblurring2D", (even, odd, 1, 6), lambda x: textbook.separable(x, even, odd), 1, 6),
    ]


def make(module, kind, arguments, **keywords):
    if "cpu" not in arguments:
        arguments = (*arguments, "cpu")
    return getattr(module, kind)(*arguments, **keywords)


@pytest.mark.parametrize("module", [ddrm, ddnm])
@pytest.mark.parametrize("case", _cases() + _blurs(), ids=lambda case: case[0])
def test_operator(module, case):
    kind, arguments, expected, channels, n = case
    blurs = kind.startswith("Deblurring")
    H = make(module, kind, arguments, **({"ordered": True} if blurs else {}))
    forward = H.H if module is ddrm else H.A
    adjoint = H.Ht if module is ddrm else H.At
    inverse = H.H_pinv if module is ddrm else H.A_pinv
    entries = channels * n * n
    x = randn(2, channels, n, n).double()
    y = forward(x)
    assert relative(y, expected(x)) <= 3e-6
    assert relative(forward(x.flatten(1)), y) <= 1e-12
    assert relative(forward(x.float()), y) <= 3e-6
    w = randn(*y.shape, seed=1).double()
    assert float(((y * w).sum() - (x.flatten(1) * adjoint(w)).sum()).abs()) <= 1e-6 * entries
    assert relative(forward(inverse(y)), y) <= 3e-6
    matrix = textbook.matrix_of(lambda e: forward(e), entries)
    s = H.singulars().double().sort(descending=True)[0]
    assert relative(s, torch.linalg.svdvals(matrix)[: len(s)]) <= 3e-6
    V = textbook.matrix_of(H.V, entries)
    assert relative(V.mT @ V, torch.eye(entries, dtype=torch.float64)) <= 3e-6
    assert relative(textbook.matrix_of(H.Vt, entries), V.mT) <= 3e-6
    c = H.U(H.singulars().double() * H.Vt(x)[:, : len(s)])
    assert relative(c, y) <= 3e-6
    if module is ddnm:
        ridge = H.A_pinv_eta(y, 0.3)
        normal = matrix.mT @ matrix + 0.3 * torch.eye(entries, dtype=torch.float64)
        assert relative(ridge, torch.linalg.solve(normal, (y @ matrix).mT).mT) <= 3e-6


def test_published_order_of_the_blurs():
    """Coefficient C k + c takes the sorted singular value (C k + c) mod n^2: the same values, another map."""
    kernel, channels, n = gaussian_taps(4, 1.5), 3, 8
    official = ddrm.Deblurring(kernel, channels, n, "cpu")
    ordered = ddrm.Deblurring(kernel, channels, n, "cpu", ordered=True)
    s, s_ordered = official.singulars(), ordered.singulars()
    sorted_s = s[: n * n]
    assert torch.equal(s, torch.cat([sorted_s] * channels))
    assert torch.equal(s_ordered, torch.stack([sorted_s] * channels, dim=1).flatten())
    x = randn(1, channels, n, n)
    c = ordered.Vt(x)
    assert relative(official.Vt(x), c) == 0
    assert relative(official.H(x), official.U(s * c)) <= 1e-6
    assert relative(official.H(x), ordered.H(x)) > 0.05


@pytest.mark.parametrize("zero", [0.0, 0.2, 0.6])
def test_threshold_of_the_blur(zero):
    """1-D singular values below ZERO, and only those, are gone from H."""
    n = 8
    H = ddrm.Deblurring(STEEP, 1, n, "cpu", zero, ordered=True)
    matrix = textbook.matrix_of(lambda e: textbook.correlate(e[:, None], STEEP, -1, False)[:, 0], n)
    U, s, Vh = torch.linalg.svd(matrix.mT)
    s = torch.where(s < zero, 0.0, s)
    small = (U * s @ Vh).mT
    x = randn(2, 1, n, n).double()
    assert relative(H.H(x), (small @ x @ small.mT).flatten(1)) <= 3e-6


@pytest.mark.parametrize("ratio", [1 / 64, 0.25, 0.9, 1.0])
def test_block_compressed_sensing(ratio):
    A = ddnm.CS(2, 64, ratio, "cpu")
    kept = int(1024 * ratio)
    basis = A.V_small.double()
    assert relative(basis.mT @ basis, torch.eye(1024).double()) <= 1e-5
    x = randn(2, 2, 64, 64)
    blocks = x.view(2, 2, 2, 32, 2, 32).transpose(3, 4).reshape(2, 8, 1024)
    assert relative(A.A(x), (blocks.double() @ basis[:, :kept]).flatten(1)) <= 3e-6
    assert len(A.singulars()) == 8 * kept
    assert relative(A.V(A.Vt(x)), x.flatten(1)) <= 3e-6
    assert relative(A.Vt(x)[:, : 8 * kept], A.A(x)) <= 3e-6
    assert relative(A.A(A.At(A.A(x))), A.A(x)) <= 3e-6


RUNS = [
    # kind, arguments, batch, channels, side, sigma_0, etaB, etaA, etaC, steps
    ("Denoising", (3, 6), 2, 3, 6, 0.5, 1.0, 0.85, 0.85, 7),
    ("Denoising", (1, 5), 1, 1, 5, 0.0, 0.9, 0.0, 1.0, 3),
    ("Inpainting", (3, 7, permutation(3 * 49)[:60]), 3, 3, 7, 0.5, 0.6, 0.3, 0.95, 5),
    ("Inpainting", (2, 12, permutation(288)[:100]), 1, 2, 12, 0.0, 1.0, 0.85, 0.85, 8),
    ("SuperResolution", (1, 9, 3), 2, 1, 9, 0.5, 0.8, 1.0, 0.0, 6),
    ("SuperResolution", (3, 8, 8), 1, 3, 8, 0.0, 0.5, 0.85, 0.2, 4),
    ("Colorization", (6,), 2, 3, 6, 0.5, 1.0, 0.0, 0.7, 6),
    ("WalshHadamardCS", (2, 8, 2, permutation(64, 1)), 2, 2, 8, 0.5, 0.9, 0.6, 0.6, 6),
    ("WalshHadamardCS", (3, 8, 16, permutation(64, 1)), 1, 3, 8, 0.0, 1.0, 0.85, 0.85, 5),
    ("SRConv", (bicubic_kernel(3).float(), 3, 12, "cpu", 3), 2, 3, 12, 0.05, 1.0, 0.7, 0.9, 6),
    ("Deblurring", (gaussian_taps(5, 2.0), 3, 8), 2, 3, 8, 0.5, 0.8, 0.85, 0.85, 6),
    ("Deblurring", (gaussian_taps(5, 2.0), 3, 8), 1, 3, 8, 0.0, 1.0, 0.85, 0.85, 6),
    ("Deblurring2D", (STEEP, gaussian_taps(7, 2.0), 2, 10), 2, 2, 10, 0.05, 1.0, 0.5, 0.85, 6),
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{run[5]}")
def test_ddrm_run(run):
    kind, arguments, batch, channels, n, sigma_0, *etas, steps = run
    H = make(ddrm, kind, arguments)
    x, picture = randn(batch, channels, n, n), randn(batch, channels, n, n, seed=1)
    y = H.H(picture)
    y = y + sigma_0 * randn(*y.shape, seed=2)
    z = randn(steps + 5, batch, channels, n, n, seed=3)
    model = textbook.swaying_network(x.shape)
    seq = list(range(0, 1000, 1000 // steps))
    expected = textbook.ddrm_run(x, seq, model, BETAS, H, y, sigma_0, *etas, z)
    actual = ddrm.efficient_generalized_steps(
        x, seq, model, BETAS, H, y, sigma_0, *etas, noise=lambda k: z[k]
    )
    for got, wanted in zip(actual, expected, strict=True):
        assert len(got) == len(wanted)
        for step, (a, e) in enumerate(zip(got, wanted, strict=True)):
            assert relative(a, e) <= 1e-4, step


@pytest.mark.parametrize("eta", [0.0, 0.85, 1.0])
@pytest.mark.parametrize("sigma_y", [None, 0.0, 0.05, 0.5])
@pytest.mark.parametrize(
    "kind, arguments, batch, channels, n",
    [
        ("Inpainting", (2, 12, permutation(288)[:100]), 2, 2, 12),
        ("SuperResolution", (1, 9, 3), 2, 1, 9),
        ("Colorization", (6,), 1, 3, 6),
        ("WalshHadamardCS", (3, 8, 4, permutation(64, 1)), 1, 3, 8),
        ("SRConv", (bicubic_kernel(3).float(), 3, 12, "cpu", 3), 2, 3, 12),
        ("Deblurring", (gaussian_taps(5, 2.0), 3, 8), 2, 3, 8),
        ("Deblurring2D", (STEEP, gaussian_taps(7, 2.0), 2, 10), 1, 2, 10),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ddnm_run(kind, arguments, batch, channels, n, sigma_y, eta):
    """Both orders of the blur; with time travel."""
    x, picture = randn(batch, channels, n, n), randn(batch, channels, n, n, seed=1)
    config = travel_config(6, 2, 2)
    pairs = travel_pairs(config, 1000)
    z = randn(len(pairs), batch, channels, n, n, seed=3)
    model = textbook.swaying_network(x.shape)
    for ordered in (False, True) if kind.startswith("Deblurring") else (None,):
        A = make(ddnm, kind, arguments, **({} if ordered is None else {"ordered": ordered}))
        y = A.A(picture)
        y = y + (sigma_y or 0.0) * randn(*y.shape, seed=2)
        states, clean = textbook.ddnm_run(x, pairs, model, BETAS, A, y, eta, z, sigma_y)
        common = {"config": config, "noise": lambda k: z[k], "keep": True}
        if sigma_y is None:
            actual = ddnm.ddnm_diffusion(x, model, BETAS, eta, A, y, **common)
        else:
            actual = ddnm.ddnm_plus_diffusion(x, model, BETAS, eta, A, y, sigma_y, **common)
        for got, wanted in zip(actual, (states, clean), strict=True):
            assert len(got) == len(wanted)
            for step, (a, e) in enumerate(zip(got, wanted, strict=True)):
                assert relative(a, e) <= 1e-4, (ordered, step)
