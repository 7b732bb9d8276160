"""Operations of networks on every backend against the float64 reference fed the same numbers."""

import pytest
import torch
from conformance import move, oracle, run_on
from tolerances import assert_close

from ddrm_fast import ops
from ddrm_fast.ops import dispatch

#: relative L2: one pass of float32, or the rounding of the result's own format
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
#: sums over the pixels of a picture: thousands of products, added in float32
SUMS = 3e-6
TYPES = list(TOLERANCE)
#: (B, C, H, W) and heads: odd sides, one pixel, more channels than pixels, several strips and bands
SHAPES = [
    ((1, 3, 1, 1), 1),
    ((2, 10, 5, 7), 2),
    ((1, 48, 33, 70), 1),
    ((1, 52, 17, 130), 4),
    ((1, 96, 6, 9), 2),
    ((1, 130, 3, 16), 1),
    ((0, 4, 8, 8), 1),
]
each_shape = pytest.mark.parametrize("shape, heads", SHAPES, ids=str)
each_type = pytest.mark.parametrize("dtype", TYPES, ids=lambda d: str(d).removeprefix("torch."))
_registered = torch.ops.ddrm_fast


def _layouts(x):
    """The same numbers as callers hand them over."""
    yield x
    yield x.to(memory_format=torch.channels_last)
    wider = torch.randn(x.shape[0], x.shape[1] + 3, *x.shape[2:]).to(x.dtype)
    wider[:, 2:-1] = x
    yield wider[:, 2:-1]
    misaligned = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape)
    yield misaligned.copy_(x)


def _check(device, operation, arguments, dtype):
    results = run_on(device, operation, arguments)
    expected = oracle(operation, arguments)
    pairs = (
        [(results, expected)]
        if isinstance(results, torch.Tensor)
        else zip(results, expected, strict=True)
    )
    for result, right in pairs:
        # sums are float32 whatever the pictures are, of numbers that are the same
        sums = result.dim() != 4 or result.dtype != dtype
        assert_close(result, right, SUMS if sums else TOLERANCE[dtype])
    return results


@pytest.fixture(autouse=True)
def _has_the_operations(request):
    """Triton has no kernels of networks, and says so where it is asked for by name."""
    if "device" in request.fixturenames:
        request.getfixturevalue("device")
        if dispatch.requested() == "triton":
            pytest.skip("Triton has no kernels of networks")


def _random(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(dtype)


@each_type
@each_shape
def test_channel_norm_matches_the_reference(device, shape, heads, dtype):
    batch, channels = shape[:2]
    x = (torch.randn(shape) * 0.3 + torch.randn(1, channels, 1, 1) + 0.5).to(dtype)
    for rows, centred, offset in ((batch, True, True), (1, False, False), (1, True, False)):
        call = {"gain": _random(rows, channels), "centred": centred}
        call["offset"] = _random(batch, channels) if offset else None
        for layout in _layouts(x):
            _check(device, ops.channel_norm, {"x": layout, **call}, dtype)


def test_the_mean_may_be_large(device):
    """The variance is taken around the mean: a picture far from 0 keeps its digits."""
    x = torch.randn(1, 48, 9, 17) + 1000
    call = {"x": x, "gain": torch.ones(1, 48)}
    # the mean itself is known to 1000 2^-24, a few times that after 48 sums
    assert_close(run_on(device, ops.channel_norm, call), oracle(ops.channel_norm, call), 3e-4)


@each_type
@each_shape
def test_channel_norm_backward_matches_the_reference(device, shape, heads, dtype):
    for rows, centred in ((shape[0], True), (1, False)):
        call = {"x": _random(*shape, dtype=dtype) + 0.5, "grad": _random(*shape, dtype=dtype)}
        call |= {"gain": _random(rows, shape[1]), "centred": centred, "eps": 1e-5}
        _check(device, _registered.channel_norm_backward, call, dtype)


@each_type
@each_shape
def test_gated_depthwise_matches_the_reference(device, shape, heads, dtype):
    batch, channels, height, width = shape
    x = _random(batch, 2 * channels, height, width, dtype=dtype)
    for bias in (None, _random(2 * channels)):
        call = {"weight": _random(2 * channels, 1, 3, 3), "bias": bias}
        for layout in _layouts(x):
            _check(device, ops.gated_depthwise, {"x": layout, **call}, dtype)


@each_type
@each_shape
def test_gated_depthwise_backward_matches_the_reference(device, shape, heads, dtype):
    batch, channels, height, width = shape
    for bias in (None, _random(2 * channels)):
        call = {"x": _random(batch, 2 * channels, height, width, dtype=dtype)}
        call |= {"grad": _random(*shape, dtype=dtype), "weight": _random(2 * channels, 1, 3, 3)}
        _check(device, _registered.gated_depthwise_backward, {**call, "bias": bias}, dtype)


@each_type
@each_shape
def test_depthwise_gram_matches_the_reference(device, shape, heads, dtype):
    batch, channels, height, width = shape
    x = _random(batch, 3 * channels, height, width, dtype=dtype)
    for bias in (None, _random(3 * channels)):
        call = {"weight": _random(3 * channels, 1, 3, 3), "bias": bias, "heads": heads}
        for layout in _layouts(x):
            _check(device, ops.depthwise_gram, {"x": layout, **call}, dtype)


@each_shape
def test_attention_fold_matches_the_reference(device, shape, heads):
    batch, channels = shape[:2]
    q, k = torch.randn(2, batch, heads, channels // heads, 11).unbind(0)
    call = {
        "gram": q @ k.mT,
        "squares": torch.stack([x.square().sum(-1).flatten(1) for x in (q, k)], dim=1),
        "temperature": torch.rand(heads, 1, 1) * 4,
        "projection": torch.randn(channels, channels, 1, 1),
    }
    _check(device, ops.attention_fold, call, torch.float32)
    call["gram"], call["squares"] = torch.zeros_like(q @ k.mT), torch.zeros(batch, 2, channels)
    _check(device, ops.attention_fold, call, torch.float32)


@pytest.mark.parametrize("band", [1, 3, 7])
def test_gated_depthwise_out_matches_the_whole(device, band):
    """Bands that bring their neighbours' rows give what the whole picture gives."""
    height, width = 17, 21
    weight, bias = move(torch.randn(12, 1, 3, 3), device), move(torch.randn(12), device)
    x = move(torch.randn(1, 12, height, width), device)
    y = torch.empty_like(x[:, :6])
    for first in range(0, height, band):
        end = min(first + band, height)
        top, bottom = int(first == 0), int(end == height)
        rows = x[:, :, max(first - 1, 0) : end + 1]
        part = torch.empty_like(y[:, :, first:end])
        _registered.gated_depthwise_out(part, rows, weight, bias, top, bottom)
        y[:, :, first:end] = part
    assert torch.equal(y, ops.gated_depthwise(x, weight, bias))


@pytest.mark.parametrize("band", [1, 3, 7])
def test_depthwise_gram_out_matches_the_whole(device, band):
    """Bands that bring their neighbours' rows give what the whole picture gives."""
    height, width = 17, 21
    weight, bias = move(torch.randn(12, 1, 3, 3), device), move(torch.randn(12), device)
    x = move(torch.randn(1, 12, height, width), device)
    v, sums = torch.empty_like(x[:, :4]), [0.0, 0.0]
    for first in range(0, height, band):
        end = min(first + band, height)
        top, bottom = int(first == 0), int(end == height)
        rows = x[:, :, max(first - 1, 0) : end + 1]
        part = torch.empty_like(v[:, :, first:end])
        added = _registered.depthwise_gram_out(part, rows, weight, bias, 2, top, bottom)
        v[:, :, first:end] = part
        sums = [total + one for total, one in zip(sums, added, strict=True)]
    whole, gram, squares = ops.depthwise_gram(x, weight, bias, 2)
    assert torch.equal(v, whole)
    assert torch.allclose(sums[0], gram, rtol=1e-5, atol=1e-4)
    assert torch.allclose(sums[1], squares, rtol=1e-5)
    again = _registered.depthwise_gram_out(None, x, weight, bias, 2, 1, 1)
    assert torch.equal(again[0], gram) and torch.equal(again[1], squares)


def test_channel_norm_out_matches_in_half_precision(device):
    x, gain = torch.randn(1, 6, 4, 9).half(), torch.rand(1, 6)
    y = move(torch.empty(1, 6, 4, 9), device)
    _registered.channel_norm_out(y, move(x, device), move(gain, device), None, True, 1e-5)
    assert_close(y, oracle(ops.channel_norm, {"x": x, "gain": gain}), 1e-6)


def test_arguments_are_checked():
    x = torch.randn(1, 6, 4, 4)
    for call, message in (
        (lambda: ops.channel_norm(x[0], torch.ones(1, 6)), r"x: expected \(B, C, H, W\)"),
        (lambda: ops.channel_norm(x.int(), torch.ones(1, 6)), "x: expected one of"),
        (lambda: ops.channel_norm(x, torch.ones(1, 5)), r"gain: expected \(1 or 1, 6\)"),
        (lambda: ops.gated_depthwise(x[:, :5], torch.ones(5, 3, 3)), "x: expected a multiple of 2"),
        (lambda: ops.gated_depthwise(x, torch.ones(5, 3, 3)), r"weight: expected \(6, 1, 3, 3\)"),
        (
            lambda: ops.gated_depthwise(x, torch.ones(6, 3, 3), torch.ones(5)),
            r"bias: expected \(6,\)",
        ),
        (lambda: ops.depthwise_gram(x, torch.ones(6, 3, 3), None, 4), "heads: got 4"),
        (
            lambda: ops.attention_fold(*(torch.ones(1, 2, 3, 3),) * 2, x, x),
            r"squares: expected \(1, 2, 6\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_gradients():
    """First order, in float64; the channel products too, whose backward is made of PyTorch's operations."""

    def leaf(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    check = torch.autograd.gradcheck
    for centred in (True, False):
        for rows in (1, 2):
            assert check(
                lambda x, g, o, centred=centred: ops.channel_norm(x, g, o, centred),
                (leaf(2, 4, 3, 2), leaf(rows, 4), leaf(rows, 4)),
            )
    assert check(ops.gated_depthwise, (leaf(2, 4, 3, 4), leaf(4, 1, 3, 3), leaf(4)))
    assert check(
        lambda x, w, b: ops.depthwise_gram(x, w, b, 2),
        (leaf(1, 12, 3, 4), leaf(12, 1, 3, 3), leaf(12)),
    )
    gram, squares = leaf(2, 2, 2, 2), torch.rand(2, 2, 4, dtype=torch.float64) + 3
    inputs = (gram, squares.requires_grad_(), leaf(2, 1, 1), leaf(4, 4, 1, 1))
    assert check(ops.attention_fold, inputs)


def test_threads_and_instruction_sets_give_the_same_bits():
    extension = pytest.importorskip("ddrm_fast._C")
    x, weight = torch.randn(1, 36, 65, 41), torch.randn(36, 1, 3, 3)
    results, before = [], extension.get_isa()
    try:
        for isa in extension.available_isas():
            for threads in (1, 2):
                extension.set_isa(isa)
                torch.set_num_threads(threads)
                with ops.use_backend("cpp"):
                    found = ops.depthwise_gram(x, weight, None, 3)
                    found += (
                        ops.gated_depthwise(x, weight),
                        ops.channel_norm(x, torch.ones(1, 36)),
                    )
                    found += _registered.gated_depthwise_backward(x, x[:, :18], weight, None)
                    results.append(found)
    finally:
        extension.set_isa(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
