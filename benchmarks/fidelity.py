"""Sizes of the differences that docs/fidelity.md lists: python benchmarks/fidelity.py.

A photograph in [-1, 1], 256 x 256 for operators and 128 x 128 for results; the default prior; eta = 0.85,
sigma_y = 0.05 of the picture's [0, 1] range; 20 steps of DDRM, 50 of DDNM. Both sides of a comparison see the
same noise. "y" is the relative L2 distance of two measurements, "picture" that of two results.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch

import ddrm_fast
from ddrm_fast import operators, ops
from ddrm_fast.compat import ddnm, ddrm
from ddrm_fast.compat.weights import DDRMWeights
from ddrm_fast.io import read_picture
from ddrm_fast.samplers import DDRM, run

HERE = Path(__file__).parent
N = 128  # of results
SIGMA = 0.1  # 0.05 of [0, 1] pictures
BETAS = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64).float()
SEQ = range(0, 1000, 50)
PRIOR = ddrm_fast.load_prior("default")


def NETWORK(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """eps of the default prior, which predicts x0 on the same schedule."""
    abar = ddrm.compute_alpha(BETAS, t.long())
    return (x_t - abar.sqrt() * PRIOR(x_t, t)) / (1 - abar).sqrt()


def photograph(n: int) -> torch.Tensor:
    picture = read_picture(HERE.parent / "examples" / "chelsea.png").pixels[None]
    return 2 * picture[..., 44 : 44 + n, 150 : 150 + n].contiguous() - 1


def gaussian_taps(taps: int, sigma: float) -> torch.Tensor:
    kernel = torch.exp(-0.5 * ((torch.arange(taps) - taps // 2) / sigma) ** 2)
    return kernel / kernel.sum()


BLURS = {
    "uniform, 9 taps": (torch.full((9,), 1 / 9),) * 2,
    "Gaussian, 5 taps, sigma 10": (gaussian_taps(5, 10.0),) * 2,
    "anisotropic, 9 taps, sigma 1 and 20": (gaussian_taps(9, 1.0), gaussian_taps(9, 20.0)),
}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Distance of ``a`` from ``b`` relative to ``b``."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def noise(seed: int):
    """``k -> noise`` of step k, the same in every run."""

    def step(k: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + k)
        return torch.randn(1, 3, N, N, generator=generator)

    return step


def measured(H, x: torch.Tensor, sigma: float) -> torch.Tensor:
    y = (H.H if hasattr(H, "H") else H.A)(x)
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))


def blur(kernels, ordered: bool, module=ddrm, n: int = N, **keywords):
    """A blur of the drop-ins."""
    if kernels[0] is kernels[1]:
        return module.Deblurring(kernels[0], 3, n, "cpu", ordered=ordered, **keywords)
    return module.Deblurring2D(*kernels, 3, n, "cpu", ordered=ordered, **keywords)


def draw(H, y, sigma=SIGMA, seq=SEQ, **keywords) -> torch.Tensor:
    start = H.Vt(noise(2)(0)).view(1, 3, N, N)
    last, _ = ddrm.efficient_generalized_steps(
        start,
        seq,
        NETWORK,
        BETAS,
        H,
        y,
        sigma,
        1.0,
        0.85,
        0.85,
        noise=noise(1),
        keep=False,
        **keywords,
    )
    return last[0]


def draw_null_space(A, y, sigma=SIGMA, **keywords) -> torch.Tensor:
    travel = SimpleNamespace(T_sampling=50, travel_length=1, travel_repeat=1)
    config = SimpleNamespace(
        diffusion=SimpleNamespace(num_diffusion_timesteps=1000), time_travel=travel
    )
    last, _ = ddnm.ddnm_plus_diffusion(
        noise(2)(0), NETWORK, BETAS, 0.85, A, y, sigma, config=config, noise=noise(1), **keywords
    )
    return last[0]


def operators_of_the_blurs(x: torch.Tensor) -> None:
    print("\n## The blurs: y, relative L2\n")
    print("| blur | published order | threshold 3e-2 | last tap dropped |")
    print("|---|---:|---:|---:|")
    for name, kernels in BLURS.items():
        official, ordered = (blur(kernels, o, n=x.shape[-1]).H(x) for o in (False, True))
        used = [k[: 2 * (len(k) // 2)] for k in kernels]
        exact = separable(used, x)
        whole = separable(kernels, x)
        print(
            f"| {name} | {relative(official, ordered):.2%} | {relative(ordered, exact):.3%} "
            f"| {relative(exact, whole):.1%} |"
        )


def separable(kernels, x: torch.Tensor) -> torch.Tensor:
    """Correlation with zeros outside; tap L // 2 over the sample."""
    y = x
    for kernel, dim in zip(kernels, (2, 3), strict=True):
        half = len(kernel) // 2
        pad = [half, len(kernel) - 1 - half]
        padding = (0, 0, *pad) if dim == 2 else (*pad, 0, 0)
        wide = torch.nn.functional.pad(y, padding)
        y = sum(float(w) * wide.narrow(dim, i, x.shape[dim]) for i, w in enumerate(kernel))
    return y.flatten(1)


def results_of_ddrm(x: torch.Tensor) -> None:
    print("\n## DDRM: picture, relative L2\n")
    kernels = BLURS["uniform, 9 taps"]
    official, ordered = (blur(kernels, o) for o in (False, True))
    a, b = draw(official, measured(official, x, SIGMA)), draw(ordered, measured(ordered, x, SIGMA))
    print(f"published order of the blur: {relative(a, b):.2%}")
    print(
        f"  error of the result, published order {relative(a, x):.2%}, ordered {relative(b, x):.2%}"
    )

    y = measured(ordered, x, SIGMA)
    dropped = ddrm.Deblurring(kernels[0], 3, N, "cpu", ordered=True)
    dropped.operator.zero = 0.0  # what was set to 0 steps with the null space
    print(
        f"thresholded directions follow y's noise: {relative(draw(ordered, y), draw(dropped, y)):.3%}"
    )

    H = ddrm.SuperResolution(3, N, 4, "cpu")
    y = measured(H, x, SIGMA)
    ours = draw(H, y)
    native = native_run(operators.SuperResolution(4), y.view(1, 3, N // 4, N // 4), "published")
    print(f"float32 weights against the package's float64 ones: {relative(ours, native):.1e}")
    exact = native_run(operators.SuperResolution(4), y.view(1, 3, N // 4, N // 4), "exact")
    print(
        f"initial state divided by sigma_T, not times sqrt(abar_T): {relative(native, exact):.1e}"
    )
    residual = float((H.H(ours) - y).norm() / (H.H(x) - y).norm())
    print(f"the last step returns x0: |H x - y| = {residual:.2f} of the noise of y")
    print(f"  without noise {relative(H.H(draw(H, H.H(x), 0.0)), H.H(x)):.2%} of y")

    D = ddrm.Denoising(3, N, "cpu")
    tie = float(ddrm.compute_alpha(BETAS, torch.tensor([400])).sqrt())
    tie = float((1 - torch.tensor(tie) ** 2).sqrt()) / tie
    seq = range(0, 1000, 100)
    abar = float(ddrm.compute_alpha(BETAS, torch.tensor([400])))
    low, high = DDRMWeights(1.0, 0.85, 0.85).tie(abar, tie)
    y = measured(D, x, tie)
    at, above = draw(D, y, tie, seq), draw(D, y, tie * (1 - 1e-6), seq)
    print(f"equality s sigma = sigma_0 (found: {low <= 1 < high}): {relative(at, above):.1%}")

    template = noise(7)(0)
    guidance = {
        "cls_fn": lambda x_t, t, c: 0.02 * (template - x_t),
        "classes": torch.zeros(1).long(),
    }
    y = measured(H, x, SIGMA)
    asked = lambda x_t, t, c=None: NETWORK(x_t, t)  # noqa: E731
    start = H.Vt(noise(2)(0)).view(1, 3, N, N)
    first = (BETAS, H, y, SIGMA, 1.0, 0.85, 0.85)
    options = {"noise": noise(1), "keep": False}
    initial = ddrm.efficient_generalized_steps(start, SEQ, asked, *first, **guidance, **options)

    def guided(x_t, t):
        level = ddrm.compute_alpha(BETAS, t.long())
        return NETWORK(x_t, t) - (1 - level).sqrt() * 0.02 * (template - x_t)

    current = ddrm.efficient_generalized_steps(start, SEQ, guided, *first, **options)
    print(f"guidance at x_T instead of x_t: {relative(initial[0][0], current[0][0]):.1%}")


def native_run(operator, y: torch.Tensor, start_scale: str) -> torch.Tensor:
    """The package's own DDRM with the same network, steps and noise."""
    abar = ddrm.compute_alpha(BETAS, torch.arange(1000)).flatten()
    prior = ddrm_fast.Prior(NETWORK, "eps", ddrm_fast.Schedule(abar))
    sampler = DDRM(list(SEQ)[::-1], 0.85, start_scale=start_scale)
    level = torch.tensor([SIGMA], dtype=torch.float64)
    start, steps = noise(2)(0), noise(1)

    def pixels(k: int) -> torch.Tensor:
        return start if k == 0 else steps(k - 1)

    return run(operator, prior, sampler, y, level, ops.noise_keys(1), noise=pixels)


def results_of_ddnm(x: torch.Tensor) -> None:
    print("\n## DDNM+: picture, relative L2\n")
    perm = torch.randperm(N * N, generator=torch.Generator().manual_seed(1))
    makers = {
        "super-resolution x4": lambda **k: ddnm.SuperResolution(3, N, 4, "cpu", **k),
        "colorization": lambda **k: ddnm.Colorization(N, "cpu", **k),
        "Walsh-Hadamard 25 %": lambda **k: ddnm.WalshHadamardCS(3, N, 4, perm, "cpu", **k),
        "uniform blur, ordered": lambda **k: blur(BLURS["uniform, 9 taps"], True, ddnm, **k),
    }
    for name, make in makers.items():
        aligned, published = make(), make(aligned=False)
        y = measured(aligned, x, SIGMA)
        a, b = draw_null_space(aligned, y), draw_null_space(published, y)
        line = f"{name}: Lambda_noise without V^T {relative(b, a):.1%}"
        line += f" (error of the result {relative(b, x):.1%}, with V^T {relative(a, x):.1%})"
        if name == "super-resolution x4":
            turned = make(aligned=False, basis=turn(aligned.V_small))
            line += f"; with another basis of the null space {relative(draw_null_space(turned, y), b):.1%}"
        print(line)
    kernels = BLURS["uniform, 9 taps"]
    for ordered in (False, True):
        for aligned in (False, True):
            A = blur(kernels, ordered, ddnm, aligned=aligned)
            error = relative(draw_null_space(A, measured(A, x, SIGMA)), x)
            print(
                f"uniform blur, ordered={ordered}, aligned={aligned}: error of the result {error:.3g}"
            )


def turn(V: torch.Tensor) -> torch.Tensor:
    """Another basis of the same null space."""
    k = V.shape[0] - 1
    q, _ = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(2)))
    return torch.cat((V[:, :1], V[:, 1:] @ q), dim=1)


def results_without_svd(x: torch.Tensor) -> None:
    print("\n## DDNM+ without SVD: picture, relative L2\n")
    travel = SimpleNamespace(T_sampling=50, travel_length=1, travel_repeat=1)
    config = SimpleNamespace(
        diffusion=SimpleNamespace(num_diffusion_timesteps=1000), time_travel=travel
    )
    A, Ap = ddnm.simplified_operators("sr_averagepooling", 4)
    for sigma in (0.0, SIGMA):
        y = A(x) + sigma * torch.randn(A(x).shape, generator=torch.Generator().manual_seed(3))
        results = [
            ddnm.simplified_ddnm_plus(
                noise(2)(0), NETWORK, BETAS, 0.85, A, Ap, y, sigma, config,
                official=official, noise=noise(1),
            )[0][0]
            for official in (True, False)
        ]  # fmt: skip
        print(
            f"sigma_y = {sigma / 2}: published noise {relative(*results):.1%} "
            f"(error of the result {relative(results[0], x):.1%}, ours {relative(results[1], x):.1%})"
        )
    for t in (800, 500, 200, 50):
        a = float(ddnm.compute_alpha(BETAS, torch.tensor([t])))
        print(f"t_next = {t}: noise in the state, published / paper {(1 - a**2) ** 0.5:.3f}")


def main() -> int:
    torch.set_num_threads(1)
    operators_of_the_blurs(photograph(256))
    x = photograph(N)
    results_of_ddrm(x)
    results_of_ddnm(x)
    results_without_svd(x)
    return 0


if __name__ == "__main__":
    sys.exit(main())
