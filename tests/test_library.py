"""The operations as PyTorch sees them: schemas, fakes, adjoints as backward, torch.compile."""

import copy

import pytest
import torch
import torch._dynamo
from conformance import registered_operations, sampler_rows
from torch.autograd import gradcheck, gradgradcheck

from ddrm_fast import DDRM, ops
from ddrm_fast.operators import (
    BicubicDownscaling,
    BlockCS,
    Blur,
    BlurDecimate,
    Carry,
    Colorization,
    Denoising,
    Gain,
    GeneralOperator,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamardCS,
    gaussian_kernel,
)
from ddrm_fast.ops import Noise, dct, rows

STEP = torch.ones(1, dtype=torch.int64)


def _rows(clip=None):
    return sampler_rows(DDRM(steps=10), 0.2, clip=clip)


def _samples():
    """Arguments of every registered operation; several where an operation has cases."""
    table, keys = _rows().table, ops.noise_keys(2, 3)
    image = torch.randn(2, 3, 4, 6)
    out = torch.randn(2, 6, 4, 6)[:, :3]
    half = torch.fft.rfft2(torch.randn(2, 3, 4, 6), norm="ortho")
    small = torch.fft.rfft2(torch.randn(2, 3, 2, 3), norm="ortho")
    kernel = torch.fft.rfft2(torch.rand(1, 1, 4, 6))
    s, one = torch.rand(1, 1, 4, 6), torch.full((1, 1, 1, 1), 0.5)
    mask, weights = (torch.rand(1, 1, 4, 6) > 0.3).float(), torch.rand(3)
    blocks = torch.randn(2, 3, 2, 3)
    grey = torch.randn(2, 1, 2, 3)
    none = torch.empty(0, 3, 4, 6)
    known = torch.rand(2, 3, 4, 6) > 0.5

    def tail(noise=None):
        return table, STEP, keys, noise

    new, x0 = torch.zeros_like(image), torch.zeros_like(image)
    return {
        "pointwise_step": [
            (new, x0, image, out, image + 1, s, *tail()),
            (new, None, None, None, None, s, *tail(image + 2)),
        ],
        "block_step": [
            (new, x0, image, out, blocks, one, None, None, 2, *tail()),
            (new, None, image, out, grey, one, weights, mask, 2, *tail(image + 2)),
        ],
        "spectral_step": [
            (torch.zeros_like(half), half, half + 1, half + 2, one, *tail(), 6),
            (torch.zeros_like(half), None, None, None, one, *tail(half + 2), 6),
        ],
        "alias_step": [
            (torch.zeros_like(half), half, half + 1, small, kernel, one, *tail(), 2, 6),
            (torch.zeros_like(half), None, None, small, kernel, one, *tail(half + 2), 2, 6),
        ],
        "known_step": [
            (new, image, out, image + 1, known, *tail()),
            (new, image, out, image[:1] + 1, known[:, :1], *tail(image + 2)),
        ],
        "fwht_step": [
            (*[torch.zeros(2, 3, 4, 8) for _ in range(3)], None, one, *tail()),
            (*[torch.zeros(2, 3, 8, 2) for _ in range(4)], one, *tail(torch.randn(2, 3, 8, 2))),
        ],
        "fwht": [
            (torch.randn(2, 3, 4, 8),),
            (torch.randn(2, 3, 4, 8, requires_grad=True),),
            (torch.randn(2, 3, 8, 4).mT.requires_grad_(),),
            (torch.empty(0, 3, 4, 8),),
        ],
        "fwht_out": [(torch.zeros(2, 3, 4, 8), torch.randn(2, 3, 4, 8))],
        "block_measure": [
            (image.clone().requires_grad_(), one, None, None, 2),
            (image.to(memory_format=torch.channels_last), one, weights, mask, 2),
            (none, one, None, None, 2),
        ],
        "block_lift": [
            (blocks.clone().requires_grad_(), one, None, None, 2, 3),
            (grey, one, weights, mask, 2, 3),
            (blocks.to(memory_format=torch.channels_last), one, None, None, 2, 3),
        ],
        "predict_x0": [
            (image, out, table, STEP),
            (image.clone().requires_grad_(), out.clone().requires_grad_(), table, STEP),
            (image, out.half(), table, STEP),
        ],
        "dct2": [(torch.randn(2, 3, 4, 5, requires_grad=True),), (torch.randn(2, 3, 5, 4).mT,)],
        "idct2": [(torch.randn(2, 3, 4, 6, requires_grad=True), 2), (torch.empty(0, 3, 4, 5),)],
        **_samples_of_networks(),
        "normal": [(keys, 3, 4, 5, 7, 1), (keys[:0], 3, 4, 5, 7, 1)],
    }


def _samples_of_networks():
    x, grad, rows = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5), torch.rand(2, 4)
    wide, stencil, bias = torch.randn(2, 12, 3, 5), torch.randn(12, 1, 3, 3), torch.randn(12)
    half, gram, squares = torch.randn(2, 6, 3, 5), torch.randn(2, 2, 2, 2), torch.rand(2, 2, 4)
    learns = [t.clone().requires_grad_() for t in (x, rows, wide, stencil, bias)]
    return {
        "channel_norm": [
            (x, rows, None, True, 1e-5),
            (learns[0], learns[1], learns[1], False, 1e-5),
            (x.to(memory_format=torch.channels_last).half(), rows[:1], rows, True, 1e-5),
        ],
        "channel_norm_out": [(torch.zeros_like(x), x.half(), rows, rows, True, 1e-5)],
        "channel_norm_backward": [(x, grad, rows, True, 1e-5), (x[:0], x[:0], rows, True, 1e-5)],
        "gated_depthwise": [(wide, stencil, bias), (*learns[2:4], None), tuple(learns[2:])],
        "gated_depthwise_out": [(torch.zeros(2, 6, 1, 5), wide, stencil, None, 0, 0)],
        "gated_depthwise_backward": [(wide, half, stencil, bias), (wide, half, stencil, None)],
        "depthwise_gram": [
            (wide, stencil, bias, 2),
            (*learns[2:], 1),
            (wide[:0], stencil, None, 2),
        ],
        "depthwise_gram_out": [
            (torch.zeros(2, 4, 2, 5), wide, stencil, None, 2, 0, 1),
            (None, wide, stencil, None, 2, 1, 1),
        ],
        "attention_fold": [(gram, squares, torch.rand(2, 1, 1), torch.randn(4, 4))],
    }


CASES = [
    pytest.param(name, index, id=f"{name}-{index}")
    for name, cases in _samples().items()
    for index in range(len(cases))
]


def test_samples_cover_every_registered_operation():
    assert registered_operations() == set(_samples())


@pytest.mark.parametrize("name, index", CASES)
def test_opcheck(name, index):
    """Schema, autograd registration, fake tensors, and tracing ahead of time."""
    operation = getattr(torch.ops.ddrm_fast, name).default
    results = torch.library.opcheck(operation, _samples()[name][index])
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name, index", CASES)
def test_fakes_have_the_real_layout(name, index):
    """Strides too: what is traced is what runs."""
    arguments = _samples()[name][index]
    operation = getattr(torch.ops.ddrm_fast, name)
    real = operation(*arguments)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = operation(
            *(mode.from_tensor(x) if isinstance(x, torch.Tensor) else x for x in arguments)
        )
    if real is None:
        assert fake is None
        return
    several = isinstance(real, (tuple, list))
    for one, other in zip(fake, real, strict=True) if several else [(fake, real)]:
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


# Gradients, in float64 on the reference backend


def _leaf(*shape, complex_numbers=False):
    dtype = torch.complex128 if complex_numbers else torch.float64
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def _both_orders(function, *inputs):
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


def test_gradient_of_fwht():
    _both_orders(ops.fwht, _leaf(2, 1, 2, 4))
    x = _leaf(1, 2, 4, 4)
    (gradient,) = torch.autograd.grad(ops.fwht(x).square().sum(), x)
    assert torch.allclose(gradient, 2 * x, atol=1e-12)


PROFILES = {
    "plain": (None, None),
    "grey": (torch.tensor([0.3, 0.6, -0.1]), None),
    "masked": (None, (torch.rand(1, 1, 4, 6) > 0.3).double()),
    "grey and masked": (torch.tensor([0.3, 0.6, 0.1]), torch.randn(2, 3, 4, 6)),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_gradients_of_block_measure_and_lift(profile):
    weights, mask = PROFILES[profile]
    weights = None if weights is None else weights.double()
    mask = None if mask is None else mask.double()
    groups = 3 if weights is None else 1
    s = torch.rand(2, groups, 2, 3, dtype=torch.float64) + 0.2
    s[0, :, 1, 1] = 0.0

    def measure(x):
        return ops.block_measure(x, s, weights, mask, 2)

    def lift(c):
        return ops.block_lift(c, s, weights, mask, 2, 3)

    x, c = _leaf(2, 3, 4, 6), _leaf(2, groups, 2, 3)
    _both_orders(measure, x)
    _both_orders(lift, c)
    assert torch.allclose((measure(x) * c).sum(), (x * lift(c)).sum(), rtol=1e-12)


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)], ids=["free", "clipped"])
def test_gradient_of_predict_x0(clip):
    """Linear inside the range, 0 outside; channels of variances receive no gradient."""
    table = _rows(clip=clip).table
    step = torch.tensor([6])
    x_t, out = _leaf(2, 2, 3, 3), _leaf(2, 4, 3, 3)

    def predict(x_t, out):
        return ops.predict_x0(x_t, out, table, step)

    x0 = predict(x_t, out)
    p_x, p_out = table[6, 0, rows.P_X].double(), table[6, 0, rows.P_OUT].double()
    inside = (x0.abs() < 1) if clip else torch.ones_like(x0, dtype=torch.bool)
    assert clip is None or (inside.any() and not inside.all())
    _both_orders(predict, x_t, out)
    for_x_t, for_out = torch.autograd.grad(x0.sum(), (x_t, out))
    assert torch.equal(for_x_t, p_x * inside)
    assert torch.equal(for_out[:, :2], p_out * inside) and not for_out[:, 2:].any()


def test_gradient_of_predict_x0_for_half_outputs():
    table, step = _rows().table, torch.tensor([6])
    x_t = torch.randn(1, 2, 3, 3, requires_grad=True)
    out = torch.randn(1, 2, 3, 3).half().requires_grad_()
    for_x_t, for_out = torch.autograd.grad(ops.predict_x0(x_t, out, table, step).sum(), (x_t, out))
    assert (for_x_t.dtype, for_out.dtype) == (torch.float32, torch.float16)
    assert torch.allclose(for_out.float(), table[6, 0, rows.P_OUT].expand_as(x_t), rtol=1e-3)


OPERATORS = {
    "denoising": (Denoising(), (2, 3, 4)),
    "inpainting": (Inpainting(torch.rand(4, 4) > 0.4), (2, 4, 4)),
    "gain": (Gain(torch.randn(2, 4, 4)), (2, 4, 4)),
    "colorization": (Colorization((0.3, 0.5, 0.2)), (3, 2, 4)),
    "super-resolution": (SuperResolution(2), (2, 4, 6)),
    "old photo": (SuperResolution(2, (0.2, 0.3), torch.rand(4, 4) > 0.4), (2, 4, 4)),
    "walsh-hadamard": (WalshHadamardCS((4, 4), 2), (1, 4, 4)),
    "block cs": (BlockCS(2, 2), (1, 4, 4)),
    "blur, odd": (Blur(torch.rand(3, 2)), (2, 4, 5)),
    "blur, even": (Blur(torch.rand(3, 3)), (1, 4, 4)),
    "blur, reflecting": (Blur(gaussian_kernel(0.7, 3), "reflect"), (2, 4, 5)),
    "separable blur": (SeparableBlur(torch.rand(3), size=(4, 5)), (2, 4, 5)),
    "bicubic": (BicubicDownscaling(2, (4, 6)), (1, 4, 6)),
    "blur and decimation": (BlurDecimate(torch.rand(3, 3), 2), (1, 6, 4)),
    "matrix": (GeneralOperator(torch.randn(5, 8), (2, 2, 2)), (2, 2, 2)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_differentiable(name):
    """H, Ht, V and Vt: first and second order, and Ht is what autograd makes of H."""
    operator, shape = OPERATORS[name]
    x = _leaf(2, *shape)
    y = operator.H(x)
    other = torch.randn_like(y)
    (adjoint,) = torch.autograd.grad(y, x, other)
    assert torch.allclose(adjoint, operator.Ht(other), atol=1e-12)
    _both_orders(operator.H, x)
    _both_orders(operator.Ht, _leaf(*y.shape))
    _both_orders(operator.Vt, x)
    c = operator.Vt(x.detach())
    if not c.is_complex():  # complex spectra of real images are no free variables
        _both_orders(operator.V, _leaf(*c.shape))
    assert gradcheck(lambda x: operator.V(operator.Vt(x)), (x,), fast_mode=True)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_outlive_inference_mode(name):
    """What an operator keeps from a run in inference mode serves autograd later."""
    _, shape = OPERATORS[name]
    operator = copy.deepcopy(OPERATORS[name][0])
    operator._cache.clear()
    dct.twiddle.cache_clear()
    x = torch.randn(1, *shape)
    with torch.inference_mode():
        y = operator.H(x.clone())
        operator.Ht(y), operator.H_pinv(y), operator.V(operator.Vt(x)), operator.prepare(y)
    x.requires_grad_()
    operator.V(operator.Vt(operator.Ht(operator.H(x)))).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.any()


def _steps(requires_grad):
    """A call of every step where the state or the network's output asks for a gradient."""
    table, noise = _rows().table, Noise(ops.noise_keys(1))
    s = torch.ones(1, 1, 1, 1)
    image = {"x_t": torch.randn(1, 2, 4, 4), "out": torch.randn(1, 2, 4, 4)}
    half = {name: torch.fft.rfft2(x) for name, x in image.items()}
    image[requires_grad].requires_grad_()
    half[requires_grad].requires_grad_()
    common = {"u": None, "s": s, "table": table, "step": STEP, "noise": noise}
    block = {"weights": None, "mask": None, "factor": 2}
    return {
        "pointwise": lambda: ops.pointwise_step(**image, **common),
        "block": lambda: ops.block_step(**image, **common, **block),
        "spectral": lambda: ops.spectral_step(**half, **common, width=4),
        "walsh-hadamard": lambda: ops.fwht_step(**image, **common),
        "alias": lambda: ops.alias_step(
            **half, **common, kernel=torch.fft.rfft2(torch.rand(1, 1, 4, 4)), factor=2, width=4
        ),
    }


@pytest.mark.parametrize("requires_grad", ["x_t", "out"])
@pytest.mark.parametrize("name", ["pointwise", "block", "spectral", "alias", "walsh-hadamard"])
def test_steps_refuse_to_be_differentiated(name, requires_grad):
    step = _steps(requires_grad)[name]
    with pytest.raises(RuntimeError, match="not differentiable"):
        step()
    with torch.no_grad():
        assert torch.isfinite(torch.view_as_real(step()) if step().is_complex() else step()).all()


# torch.compile


@pytest.fixture
def one_compilation():
    """A second compilation of the same code is an error."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


COMPILED = {
    "denoising": (Denoising(), (3, 4, 6)),
    "inpainting": (Inpainting(torch.rand(4, 6) > 0.4), (3, 4, 6)),
    "gain": (Gain(torch.rand(4, 6) + 0.1), (3, 4, 6)),
    "super-resolution": (SuperResolution(2), (3, 4, 6)),
    "old photo": (SuperResolution(2, (0.2, 0.3, 0.5), torch.rand(4, 6) > 0.4), (3, 4, 6)),
    "colorization": (Colorization(), (3, 4, 6)),
    "walsh-hadamard": (WalshHadamardCS((4, 8), 2), (3, 4, 8)),
    "block cs": (BlockCS(2, 2), (3, 4, 8)),
    "blur": (Blur(torch.rand(3, 3)), (3, 4, 6)),
    "blur, reflecting": (Blur(gaussian_kernel(0.7, 3), "reflect"), (3, 4, 6)),
    "separable blur": (SeparableBlur(torch.rand(3), size=(4, 6)), (3, 4, 6)),
    "bicubic": (BicubicDownscaling(2, (4, 6)), (3, 4, 6)),
    "matrix": (GeneralOperator(torch.randn(5, 8), (2, 2, 2)), (2, 2, 2)),
    "blur and decimation": (BlurDecimate(torch.rand(3, 3), 2), (3, 4, 6)),
}


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", COMPILED)
@torch.no_grad()
def test_compiled_steps_do_not_recompile(one_compilation, name, backend):
    """Ten different steps, one graph, the same numbers as without compilation."""
    operator, shape = COMPILED[name]
    u = operator.prepare(operator.H(torch.randn(2, *shape)))
    table = _rows()
    noise = Noise(ops.noise_keys(2, 5))

    def advance(x_t, step):
        out = torch.tanh(x_t)
        return operator.step(x_t, out, u, table, step, noise)

    compiled = torch.compile(advance, fullgraph=True, backend=backend)
    eager_state = compiled_state = torch.randn(2, *shape)
    for index in range(1, len(table.table)):
        step = torch.tensor([index])
        eager_state, before = advance(eager_state, step), eager_state
        compiled_state = compiled(compiled_state, step)
        assert torch.equal(compiled_state, eager_state), index
        assert not torch.equal(eager_state, before)
    assert index == 10


def test_every_operator_is_compiled():
    assert {type(operator) for operator, _ in OPERATORS.values()} == {
        type(operator) for operator, _ in COMPILED.values()
    }


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", COMPILED)
@torch.no_grad()
def test_compiled_loop_steps_do_not_recompile(one_compilation, name):
    """As the loop calls them: clipped, coefficients kept from step to step, into buffers, from an output
    of half precision with channels of variances, with the step counted on the device."""
    operator, shape = COMPILED[name]
    u = operator.prepare(operator.H(torch.randn(2, *shape)))
    table, noise = _rows(clip=(-1.0, 1.0)), Noise(ops.noise_keys(2, 5))
    assert table.edited is not None

    def advance(x_t, step, x_next, x0, carry):
        step.add_(1)
        out = torch.cat((torch.tanh(x_t), x_t), dim=1).half()
        operator.step(x_t, out, u, table, step, noise, x_next=x_next, x0=x0, carry=carry)

    def run(advance):
        """States and clean images of a run."""
        state, spare, x0 = (torch.zeros(2, *shape) for _ in range(3))
        step, carry, seen = torch.zeros(1, dtype=torch.int64), Carry(), []
        operator.step(None, None, u, table, step, noise, x_next=state, carry=carry)
        for _ in range(10):
            advance(state, step, spare, x0, carry)
            state, spare = spare, state
            seen += [state.clone(), x0.clone()]
        return torch.stack(seen)

    expected = run(advance)
    compiled = torch.compile(advance, fullgraph=True, backend="aot_eager", dynamic=False)
    assert torch.equal(run(compiled), expected) and expected.isfinite().all()


def test_the_limit_on_recompilations_works(one_compilation):
    """What the test above relies on: a changing host number does fail."""
    compiled = torch.compile(lambda x, k: x * k, fullgraph=True, backend="eager", dynamic=False)
    compiled(torch.ones(2), 0.5)
    with pytest.raises(Exception, match="recompile"):
        compiled(torch.ones(2), 0.25)


@torch.no_grad()
def test_compiled_step_writes_into_a_buffer(one_compilation):
    """The ``x_next=`` form of the loop, inside a graph."""
    operator = Inpainting(torch.rand(4, 6) > 0.4)
    u, table = operator.prepare(torch.randn(2, 3, 4, 6)), _rows()
    noise, buffer = Noise(ops.noise_keys(2, 5)), torch.zeros(2, 3, 4, 6)

    def advance(x_t, out, step, x_next):
        return operator.step(x_t, out, u, table, step, noise, x_next=x_next)

    compiled = torch.compile(advance, fullgraph=True, backend="aot_eager")
    for index in (1, 2, 3):
        x_t, out, step = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 6), torch.tensor([index])
        result = compiled(x_t, out, step, buffer)
        assert torch.equal(result, advance(x_t, out, step, None))
        assert torch.equal(buffer, result)
