"""The published solvers' behaviour around the numbers: own classes, lists, seeds, network calls, ties."""

import math
import weakref

import pytest
import textbook_compat as textbook
import torch
from golden_compat import gaussian_taps, relative, travel_config

import ddrm_fast
from ddrm_fast.compat import ddnm, ddrm
from ddrm_fast.compat.degradations.flat import FlatOperator
from ddrm_fast.compat.loop import Randomness
from ddrm_fast.compat.schedule import travel_pairs
from ddrm_fast.compat.steps import FusedSteps
from ddrm_fast.compat.weights import DDNMPlusWeights, DDRMWeights, first_float, sigma32

BETAS = torch.linspace(1e-4, 2e-2, 1000)
SEQ = range(0, 1000, 200)
SHAPE = (2, 3, 8, 8)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def restore(H, sigma_0=0.1, x=None, model=None, y=None, seq=SEQ, etas=(0.9, 0.8, 0.7), **keywords):
    """A DDRM run with noise of its own unless ``noise`` is given."""
    x = randn(*SHAPE) if x is None else x
    y = (
        H.U(H.singulars() * H.Vt(randn(*SHAPE, seed=1))[:, : len(H.singulars())])
        if y is None
        else y
    )
    model = textbook.swaying_network(SHAPE) if model is None else model
    return ddrm.efficient_generalized_steps(x, seq, model, BETAS, H, y, sigma_0, *etas, **keywords)


def given(count=30, seed=3):
    z = randn(count, *SHAPE, seed=seed)
    return lambda k: z[k]


def all_close(actual, expected, limit=2e-5):
    for a, e in zip(actual, expected, strict=True):
        assert len(a) == len(e)
        for x, y in zip(a, e, strict=True):
            assert relative(x, y) <= limit


def builtin(module=ddrm):
    perm = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    blur = gaussian_taps(5, 2.0)
    matrix = randn(60, 192) / 8
    matrix[50:] = matrix[:10]  # rank 50: ten singular values are 0
    general = module.GeneralH if module is ddrm else module.GeneralA
    return {
        "matrix": general(matrix),
        "denoising": module.Denoising(3, 8, "cpu"),
        "inpainting": module.Inpainting(3, 8, torch.arange(0, 190, 3), "cpu"),
        "super-resolution": module.SuperResolution(3, 8, 2, "cpu"),
        "colorization": module.Colorization(8, "cpu"),
        "compressed sensing": module.WalshHadamardCS(3, 8, 4, perm, "cpu"),
        "bicubic": module.SRConv(gaussian_taps(8, 2.0), 3, 8, "cpu", stride=2),
        "blur": module.Deblurring(blur, 3, 8, "cpu"),
        "blur 2D": module.Deblurring2D(blur, gaussian_taps(4, 3.0), 3, 8, "cpu", ordered=True),
    }


def own_class(base, inner):
    """A class as callers write them, known by V, Vt, U, Ut, singulars and add_zeros alone."""

    class Own(base):
        def __init__(self):
            self.calls = 0

        def V(self, vec):
            self.calls += 1
            return inner.V(vec)

        def Vt(self, vec):
            return inner.Vt(vec)

        def U(self, vec):
            return inner.U(vec)

        def Ut(self, vec):
            return inner.Ut(vec)

        def singulars(self):
            return inner.singulars()

        def add_zeros(self, vec):
            return inner.add_zeros(vec)

    return Own()


@pytest.mark.parametrize("sigma_0", [0.0, 0.5])
@pytest.mark.parametrize("name", builtin())
def test_own_subclass(name, sigma_0):
    """Through its V, Vt, U and Ut a class of one's own gives what the built-in class gives."""
    inner = builtin()[name]
    own = own_class(ddrm.H_functions, inner)
    x, y = randn(*SHAPE), inner.H(randn(*SHAPE, seed=1))
    assert relative(own.H(x), inner.H(x)) <= 3e-6
    assert relative(own.Ht(y), inner.Ht(y)) <= 3e-6
    assert relative(own.H_pinv(y), inner.H_pinv(y)) <= 3e-6
    assert own.calls > 0
    all_close(
        restore(own, sigma_0, noise=given()), restore(inner, sigma_0, noise=given()), limit=1e-4
    )


@pytest.mark.parametrize("sigma_y", [None, 0.5])
@pytest.mark.parametrize("name", ["inpainting", "super-resolution", "bicubic", "blur 2D"])
def test_own_subclass_of_ddnm(name, sigma_y):
    inner = builtin(ddnm)[name]
    own = own_class(ddnm.A_functions, inner)
    all_close(_null_space(own, sigma_y), _null_space(inner, sigma_y), limit=1e-4)
    assert own.calls > 0


def _null_space(A, sigma_y, seed=None, noise=True, **keywords):
    y = A.U(A.singulars() * A.Vt(randn(*SHAPE, seed=1))[:, : len(A.singulars())])
    model, config = textbook.swaying_network(SHAPE), travel_config(6, 2, 2)
    keywords = {"config": config, "keep": True, **({"noise": given()} if noise else {}), **keywords}
    if seed is not None:
        torch.manual_seed(seed)
    if sigma_y is None:
        return ddnm.ddnm_diffusion(randn(*SHAPE), model, BETAS, 0.8, A, y, **keywords)
    return ddnm.ddnm_plus_diffusion(randn(*SHAPE), model, BETAS, 0.8, A, y, sigma_y, **keywords)


def test_subclass_of_a_builtin_class_is_obeyed():
    """An overridden method counts, also where the package has an operator for the class."""

    class Mirrored(ddrm.Denoising):
        def V(self, vec):
            return super().V(vec).flip(1)

        def Vt(self, vec):
            return super().Vt(vec.flatten(1).flip(1))

    H = Mirrored(3, 8, "cpu")
    x = randn(*SHAPE)
    assert torch.equal(H.H(x), x.flatten(1).flip(1))
    y = H.H(x)
    states, _ = restore(H, 0.0, y=y, etas=(1.0, 0.85, 0.85), noise=given())
    plain, _ = restore(ddrm.Denoising(3, 8, "cpu"), 0.0, y=y, etas=(1.0, 0.85, 0.85), noise=given())
    assert relative(states[1], plain[1]) > 0.1


def test_object_of_no_base_class():
    """What has the methods will do."""
    inner = builtin()["super-resolution"]
    duck = own_class(object, inner)
    all_close(restore(duck, noise=given()), restore(inner, noise=given()), limit=1e-4)


def test_own_lambda_is_obeyed():
    class Half(ddnm.SuperResolution):
        def Lambda(self, vec, a, sigma_y, sigma_t, eta):
            return 0.5 * super().Lambda(vec, a, sigma_y, sigma_t, eta)

    ours = _null_space(Half(3, 8, 2, "cpu"), 0.1)
    plain = _null_space(ddnm.SuperResolution(3, 8, 2, "cpu"), 0.1)
    assert relative(ours[0][1], plain[0][1]) > 1e-3


def apart(A):
    """The same degradation, its steps taken apart into the methods A, A_pinv, Lambda and Lambda_noise."""

    class Apart(type(A)):
        def Lambda(self, *arguments):
            return super().Lambda(*arguments)

    A.__class__ = Apart
    return A


@pytest.mark.parametrize("sigma_y", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("name", builtin(ddnm))
def test_fused_step_is_its_parts(name, sigma_y):
    """The blur in the published order has A's singular values and, in another order, Lambda's."""
    fused, parts = builtin(ddnm)[name], apart(builtin(ddnm)[name])
    all_close(_null_space(fused, sigma_y), _null_space(parts, sigma_y), limit=1e-4)


def test_published_lambda_noise_is_another():
    aligned = _null_space(ddnm.SuperResolution(3, 8, 2, "cpu"), 0.2)
    published = _null_space(ddnm.SuperResolution(3, 8, 2, "cpu", aligned=False), 0.2)
    assert relative(published[0][1], aligned[0][1]) > 1e-2


@pytest.mark.parametrize("name", builtin())
def test_only_the_last(name):
    H = builtin()[name]
    torch.manual_seed(7)
    states, clean = restore(H)
    torch.manual_seed(7)
    last, last_clean = restore(H, keep=False)
    assert len(states) == len(SEQ) + 1 and len(clean) == len(SEQ)
    assert len(last) == len(last_clean) == 1
    assert torch.equal(last[0], states[-1]) and torch.equal(last_clean[0], clean[-1])


@pytest.mark.parametrize("name", ["inpainting", "blur"])
def test_only_the_last_with_time_travel(name):
    A = builtin(ddnm)[name]
    states, clean = _null_space(A, 0.1, seed=7, noise=False)
    pairs = travel_pairs(travel_config(6, 2, 2), 1000)
    assert len(states) == len(pairs) + 1
    assert len(clean) == sum(t_next < t for t, t_next in pairs)
    last, last_clean = _null_space(A, 0.1, seed=7, noise=False, keep=False)
    assert len(last) == len(last_clean) == 1
    assert torch.equal(last[0], states[-1]) and torch.equal(last_clean[0], clean[-1])


def test_kept_states_are_not_overwritten():
    seen = []
    network = textbook.swaying_network(SHAPE)

    def model(x, t):
        seen.append(x.clone())
        return network(x, t)

    states, clean = restore(builtin()["colorization"], model=model)
    for state, shown in zip(states, seen, strict=False):
        assert torch.equal(state, shown)
    assert len({x.data_ptr() for x in states + clean}) == len(states) + len(clean)


@pytest.mark.parametrize("name", ["denoising", "super-resolution", "compressed sensing"])
def test_memory_does_not_grow_with_the_steps(name):
    """With keep=False the network sees the initial state and then two buffers in turn, and no clean image
    outlives the run's last one."""
    pointers, network = set(), textbook.swaying_network(SHAPE)
    made = []
    plain_step = FusedSteps.step

    def step(self, *arguments):
        x0 = plain_step(self, *arguments)
        made.append(None if x0 is None else weakref.ref(x0))
        return x0

    def model(x, t):
        pointers.add(x.data_ptr())
        return network(x, t)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FusedSteps, "step", step)
        restore(builtin()[name], model=model, seq=range(0, 1000, 20), keep=False)
    assert len(pointers) <= 3
    assert len(made) == 50 and all(x0 is None for x0 in made[:-1])


def test_seed():
    """Without given noise torch's global generator decides; with it, it is left alone."""
    H = builtin()["inpainting"]
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(restore(H)[0][-2])
    assert torch.equal(runs[0], runs[1]) and relative(runs[2], runs[0]) > 1e-2
    torch.manual_seed(1)
    before = torch.get_rng_state()
    restore(H, noise=given())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", builtin())
def test_own_noise_is_white(name):
    """The state after one step has the mean and spread that any white noise gives it."""
    H = builtin()[name]
    y, x = H.H(randn(*SHAPE, seed=1)), randn(*SHAPE)
    network = textbook.swaying_network(SHAPE)
    seq = (0, 500)

    def after_a_step(**keywords):
        return torch.stack(
            [restore(H, 0.3, y=y, x=x, model=network, seq=seq, **keywords)[0][1] for _ in range(64)]
        )

    torch.manual_seed(0)
    drawn = after_a_step()
    generator = torch.Generator().manual_seed(1)
    known = after_a_step(noise=lambda k: torch.randn(*SHAPE, generator=generator))
    spread = float(known.std(dim=0).square().mean().sqrt())
    assert spread > 0
    # 64 runs of 384 numbers: means within 5 standard errors of each other in L2, spreads within 5 %
    error = (drawn.mean(0) - known.mean(0)).square().mean().sqrt()
    assert float(error) <= 1.25 * spread * math.sqrt(2 / 64)
    assert abs(float(drawn.std(dim=0).square().mean().sqrt()) / spread - 1) <= 0.05


def test_network_calls():
    """t is a float tensor [B] with the timesteps from the last down; variances behind eps are not read."""
    calls, network = [], textbook.swaying_network(SHAPE)

    def model(x, t):
        assert t.dtype == torch.float32 and t.shape == (2,) and x.shape == SHAPE
        calls.append(t.tolist())
        return torch.cat((network(x, t), torch.full_like(x, math.nan)), dim=1)

    H = builtin()["super-resolution"]
    all_close(restore(H, model=model, noise=given()), restore(H, noise=given()), limit=0)
    assert calls == [[float(t)] * 2 for t in reversed(SEQ)]


def test_half_precision_network():
    network = textbook.swaying_network(SHAPE)
    for name in ("denoising", "blur"):
        H = builtin()[name]
        half = restore(H, model=lambda x, t: network(x, t).bfloat16(), noise=given())
        rounded = restore(H, model=lambda x, t: network(x, t).bfloat16().float(), noise=given())
        all_close(half, rounded, limit=1e-6)


def test_guidance():
    """Called with the classes and the initial state in every step; eps - sqrt(1 - abar_t) gradient."""
    H, network = builtin()["denoising"], textbook.swaying_network(SHAPE)
    classes, seen = torch.tensor([4, 2]), []

    def model(x, t, given_classes):
        assert given_classes is classes
        return network(x, t)

    def cls_fn(x, t, given_classes):
        assert given_classes is classes
        seen.append(x.clone())
        return 0.1 * x + t.view(-1, 1, 1, 1) / 1000

    states, clean = restore(H, model=model, cls_fn=cls_fn, classes=classes, noise=given())
    assert all(torch.equal(x, states[0]) for x in seen) and len(seen) == len(SEQ)
    table = textbook.abar_table(BETAS)

    def guided(x, t):
        gradient = 0.1 * states[0] + t.view(-1, 1, 1, 1) / 1000
        return network(x, t) - math.sqrt(1 - table[int(t[0])]) * gradient

    all_close((states, clean), restore(H, model=guided, noise=given()), limit=1e-5)


def test_guidance_of_ddnm_asks_for_one_class():
    A, network = builtin(ddnm)["denoising"], textbook.swaying_network(SHAPE)
    seen = []

    def cls_fn(x, t, classes):
        seen.append(classes.tolist())
        return torch.zeros_like(x)

    ddnm.ddnm_diffusion(
        randn(*SHAPE),
        lambda x, t, classes: network(x, t),
        BETAS,
        0.8,
        A,
        A.A(randn(*SHAPE)),
        cls_fn=cls_fn,
        classes=torch.tensor([1, 2]),
        config=travel_config(3),
    )
    assert seen == [[ddnm.class_num] * 2] * 3


def test_measurement_as_a_picture_or_of_one_image():
    H = builtin()["super-resolution"]
    y = H.H(randn(1, 3, 8, 8))
    flat = restore(H, y=y, noise=given())
    both = restore(H, y=y.expand(2, -1).contiguous(), noise=given())
    picture = restore(H, y=y.view(1, 3, 4, 4), noise=given())
    all_close(flat, both, limit=1e-6)
    all_close(flat, picture, limit=0)


@pytest.mark.parametrize("name", ["inpainting", "blur"])
def test_double_precision(name):
    """float64 states stay float64, on the reference backend."""
    z, x, network = given(), randn(*SHAPE), textbook.swaying_network(SHAPE)
    H, A = builtin()[name], builtin(ddnm)[name]
    double = restore(H, x=x.double(), noise=z)
    assert all(state.dtype == torch.float64 for state in double[0] + double[1])
    all_close(double, restore(H, x=x, noise=z), limit=1e-4)
    config, y = travel_config(4, 1, 2), A.A(randn(*SHAPE, seed=1))
    keywords = {"config": config, "noise": z}
    double = ddnm.ddnm_plus_diffusion(x.double(), network, BETAS, 0.8, A, y, 0.1, **keywords)
    assert double[0][0].dtype == torch.float64
    single = ddnm.ddnm_plus_diffusion(x, network, BETAS, 0.8, A, y, 0.1, **keywords)
    all_close(double, single, limit=1e-4)


def _strided(x):
    """The same numbers with the channels last in memory."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", builtin())
def test_memory_layout_does_not_matter(name):
    H, network, z = builtin()[name], textbook.swaying_network(SHAPE), given()
    x, y = randn(*SHAPE), H.H(randn(*SHAPE, seed=1))
    expected = restore(H, x=x, y=y, noise=z)
    strided = restore(
        H,
        x=_strided(x),
        y=y.repeat(1, 2)[:, : y.shape[1]],
        model=lambda x, t: _strided(network(x, t)),
        noise=lambda k: _strided(z(k)),
    )
    all_close(strided, expected, limit=1e-6)
    A = builtin(ddnm)[name]
    plain = ddnm.ddnm_plus_diffusion(
        x, network, BETAS, 0.8, A, y, 0.1, config=travel_config(3, 1, 2), noise=z
    )
    strided = ddnm.ddnm_plus_diffusion(
        _strided(x), network, BETAS, 0.8, A, y, 0.1, config=travel_config(3, 1, 2), noise=z
    )
    all_close(strided, plain, limit=1e-6)


@pytest.mark.parametrize("name", builtin())
def test_reference_backend_agrees(name):
    """The run of the compiled kernels is that of the plain PyTorch reference, its own noise included."""
    torch.manual_seed(3)
    fast = restore(builtin()[name])
    with ddrm_fast.use_backend("reference"):
        torch.manual_seed(3)
        plain = restore(builtin()[name])
    all_close(fast, plain, limit=1e-4)


def test_first_float():
    """The smallest float32 past the boundary, also where the guess is far or on the wrong side."""
    for level, sigma in ((0.1, 3.7), (2.0411, 2.0411), (1e-4, 150.0), (0.5, 1e-3)):
        level32, sigma_t = torch.tensor(level), torch.tensor(sigma)

        def reached(s, sigma_t=sigma_t, level32=level32):
            return bool(torch.tensor(s) * sigma_t > level32)

        s = torch.tensor(first_float(reached, level / sigma))
        assert reached(s.item())
        assert not reached(torch.nextafter(s, torch.tensor(0.0)).item())


def _tie_levels(t_next: int, sigma_0: float) -> torch.Tensor:
    """Singular values below, on and above the boundary of the step to t_next."""
    abar = textbook.abar_table(BETAS)[t_next]
    low, high = DDRMWeights(1.0, 0.8, 0.7).tie(abar, sigma_0)
    assert low < high  # a float32 product is exactly sigma_0
    return torch.tensor([2.0, high, low, 0.5 * low, 0.0])


class Diagonal(ddrm.H_functions, ddnm.A_functions):
    """y = s x on the first pixels."""

    zero = ddrm.H_functions.zero

    def __init__(self, s):
        self.s = s

    def V(self, vec):
        return vec.flatten(1)

    Vt = U = Ut = V

    def singulars(self):
        return self.s

    def add_zeros(self, vec):
        return torch.nn.functional.pad(vec, (0, 192 - vec.shape[1]))


def test_tie_among_several_singular_values():
    """s sigma = sigma_0 for one of them: that one takes the step of the null space, as published."""
    sigma_0 = float(sigma32(textbook.abar_table(BETAS)[400])) * 0.75
    H = Diagonal(_tie_levels(400, sigma_0))
    y = randn(2, 5, seed=2)
    z = randn(10, *SHAPE, seed=3)
    model = textbook.swaying_network(SHAPE)
    arguments = (randn(*SHAPE), SEQ, model, BETAS, H, y, sigma_0, 0.9, 0.8, 0.7)
    u = FlatOperator(H, SHAPE[1:], H.zero).prepare(y)
    pairs = [(800, 600), (600, 400), (400, 200), (200, 0), (0, -1)]
    abar = torch.tensor([textbook.abar_table(BETAS)[t] for t in range(1000)])
    weights = DDRMWeights(0.9, 0.8, 0.7)
    steps = FusedSteps(FlatOperator(H, SHAPE[1:], H.zero), u, weights, abar, pairs, sigma_0)
    assert {k: int(tied.sum()) for k, tied in steps.ties.items()} == {1: 1}
    actual = ddrm.efficient_generalized_steps(*arguments, noise=lambda k: z[k])
    all_close(actual, textbook.ddrm_run(*arguments, z), limit=1e-4)


def _ties(weights, abar, sigma) -> bool:
    low, high = weights.tie(abar, sigma)
    return low < high


@pytest.mark.parametrize("several", [False, True])
def test_tie_of_ddnm_plus(several):
    """sigma_t = a sigma_y / s in float32: lambda = 1 with the noise of a DDIM step. No row says so: the step
    is taken apart, and the next one starts from its result."""
    table, t_next = textbook.abar_table(BETAS), 333
    abar = torch.tensor(table[t_next])
    weights, sigma_y = DDNMPlusWeights(0.8), float((1 - abar).sqrt() / abar.sqrt())
    sigma_y = next(
        y for y in (sigma_y * k / 64 for k in range(32, 64)) if _ties(weights, table[t_next], y)
    )
    low, _ = weights.tie(table[t_next], sigma_y)
    s = torch.tensor([3.0, low, 0.2] if several else [low])
    A = Diagonal(s)
    y, z = randn(2, len(s), seed=2), randn(10, *SHAPE, seed=3)
    keywords = {"config": travel_config(3), "noise": lambda k: z[k], "keep": True}
    model = textbook.swaying_network(SHAPE)
    arguments = (randn(*SHAPE), model, BETAS, 0.8)
    fused = ddnm.ddnm_plus_diffusion(*arguments, A, y, sigma_y, **keywords)
    parts = ddnm.ddnm_plus_diffusion(*arguments, apart(Diagonal(s)), y, sigma_y, **keywords)
    all_close(fused, parts, limit=1e-4)
    lam, d_z, d_e = ddnm.split_noise(s, abar.sqrt(), sigma_y, (1 - abar).sqrt(), 0.8)
    tied = s == low
    root = float((1 - abar).sqrt())
    assert tied.sum() == 1 and lam[tied] == 1
    torch.testing.assert_close(float(d_z[tied]), 0.8 * root)
    torch.testing.assert_close(float(d_e[tied]), 0.6 * root)


def test_randomness_in_pixels_is_that_of_the_kernels():
    """Steps that are taken apart draw what a fused step would have drawn."""
    torch.manual_seed(0)
    noise = Randomness(None, torch.zeros(SHAPE))
    A = builtin(ddnm)["denoising"]
    for name in ("fused", "parts"):
        torch.manual_seed(5)
        states, _ = _null_space(A if name == "fused" else apart(A), 0.3, noise=False)
        if name == "fused":
            expected = states
    all_close(([*states],), ([*expected],), limit=1e-4)
    assert relative(noise.pixels(0), noise.pixels(1)) > 0.5
