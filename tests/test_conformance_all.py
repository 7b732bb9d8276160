"""What holds for all operations: layouts of noise, thread counts, alignment, forks, instruction sets."""

import concurrent.futures
import importlib
import os
import signal

import pytest
import torch
from conformance import (
    NATIVE,
    STEP_1,
    alias_call,
    block_call,
    block_profile,
    check,
    fwht_call,
    guarded_buffer,
    known_call,
    known_step,
    oracle,
    pointwise_call,
    random_images,
    random_spectra,
    random_table,
    rational_table,
    run_on,
    some_keys,
    spectral_call,
)
from tolerances import NORMAL, STEP, assert_close

from ddrm_fast import ops
from ddrm_fast.ops import Noise, dct


def test_steps_read_given_noise_of_any_layout(device):
    """Noise as a strided or a conjugate view."""
    state, half = (2, 3, 8, 44), (2, 3, 9, 69)
    pixels = random_images((4, 3, 44, 8)).mT[::2]
    spectra = random_spectra((4, 3, 9, 69)).conj()[::2]
    for operation, arguments, given in (
        (ops.pointwise_step, pointwise_call(state), pixels),
        (ops.block_step, block_call(state, block_profile(state, 4, False, "none")), pixels),
        (ops.spectral_step, spectral_call(half), spectra),
        (ops.alias_step, alias_call(3, half), spectra),
    ):
        assert not given.is_contiguous()
        call = {**arguments, "noise": Noise(some_keys(2), given)}
        check(device, operation, call)


def test_network_outputs_whose_images_are_far_apart(device):
    """More than 2^31 numbers between two images: offsets of 64 bits."""
    shape, far = (2, 2, 4, 8), 2**31 + 8
    memory = torch.empty(far + 64, dtype=torch.float16, device=device)  # touched at both ends alone
    out = memory.as_strided(shape, (far, 32, 8, 1))
    out.copy_(random_images(shape))
    near = out.clone()
    profile = block_profile(shape, 2, True, "none")
    noise = Noise(some_keys(2))
    for operation, call in (
        (ops.pointwise_step, {**pointwise_call(shape), "noise": noise}),
        (ops.block_step, {**block_call(shape, profile), "noise": noise}),
        (ops.fwht_step, {**fwht_call(shape), "noise": noise}),
        (ops.predict_x0, {"x_t": near.float(), "table": random_table(), "step": STEP_1}),
    ):
        results = [run_on(device, operation, {**call, "out": x}) for x in (out, near)]
        assert torch.equal(*results), operation.__name__


def _one_of_each(image, spectrum, block, small):
    """A call of every operation: (operation, arguments), noise drawn inside."""
    profile = block_profile(block, 4, True, "real")
    noise, clip = Noise(some_keys(image[0])), (-1.0, 1.0)
    clipped = pointwise_call(image, table=random_table(clip=clip))
    lifted = {"c": random_images(profile.grid), "channels": block[1]}
    pixels = {"x_t": random_images(image), "out": random_images(image), "step": STEP_1}
    return [
        (ops.pointwise_step, {**pointwise_call(image), "noise": noise}),
        (ops.pointwise_step, {**clipped, "noise": noise}),
        (ops.pointwise_step, {**pointwise_call(image, table=rational_table()), "noise": noise}),
        (ops.block_step, {**block_call(block, profile), "noise": noise}),
        (ops.spectral_step, {**spectral_call(spectrum), "noise": noise}),
        (ops.spectral_step, {**spectral_call(spectrum, table=rational_table()), "noise": noise}),
        (ops.alias_step, {**alias_call(3, spectrum), "noise": noise}),
        (known_step, {**known_call(image), "noise": noise}),
        (ops.block_measure, {**profile.arguments, "x": random_images(block)}),
        (ops.block_lift, {**profile.arguments, **lifted}),
        (ops.fwht, {"x": random_images(small)}),
        (ops.fwht_step, {**fwht_call(small), "noise": noise}),
        (dct.forward, {"x": random_images(image)}),
        (dct.inverse, {"c": random_images(block)}),
        (ops.predict_x0, {**pixels, "table": random_table(clip=clip)}),
        (ops.normal, {"keys": some_keys(2), "channels": 3, "height": image[2], "width": image[3]}),
    ]


@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_thread_counts_agree_bit_for_bit(device):
    """Pictures large enough to be shared out, with 1, 2 and 3 threads, and against the oracle."""
    calls = _one_of_each((2, 3, 90, 131), (2, 3, 90, 129), (2, 3, 92, 132), (2, 3, 128, 128))
    for operation, arguments in calls:
        torch.set_num_threads(1)
        expected = run_on(device, operation, arguments)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            result = run_on(device, operation, arguments)
            assert torch.equal(result, expected), f"{operation.__name__} with {threads} threads"
        torch.set_num_threads(1)
        if operation is ops.normal:
            continue
        absolute = 10 * NORMAL if "noise" in arguments else 0.0
        assert_close(expected, oracle(operation, arguments), STEP, absolute)


@pytest.mark.parametrize(
    "operation, width",
    [(ops.pointwise_step, 1024), (ops.block_step, 1024), (ops.pointwise_step, 1028)],
)
@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_large_states_do_not_depend_on_alignment(device, operation, width):
    """64 MiB: such a state may be written past the caches where its rows are aligned.

    Same numbers; the last rows of the last image are checked against the oracle.
    """
    one, shape, kept = (1, 1, 1024, width), (16, 1, 1024, width), 8
    if operation is ops.pointwise_step:
        s, rows_of_u = (torch.rand(one) > 0.5).float() * torch.rand(one), kept
        call = pointwise_call(one, s=s)
    else:
        call, rows_of_u = block_call(one, block_profile(one, 4, False, "none")), kept // 4
    small = dict(call)
    call.update(x_t=call["x_t"].repeat(16, 1, 1, 1), out=call["out"].expand(shape))
    call["noise"] = Noise(some_keys(16))
    aligned = run_on(device, operation, call)
    assert aligned.data_ptr() % 64 == 0
    _, buffer = guarded_buffer(aligned, device)
    assert buffer.data_ptr() % 64 != 0
    assert torch.equal(run_on(device, operation, {**call, "x_next": buffer}), aligned)
    state = call["x_t"].to(device)
    assert torch.equal(run_on(device, operation, {**call, "x_t": state, "x_next": state}), aligned)

    for name in ("x_t", "out", "s") if operation is ops.pointwise_step else ("x_t", "out"):
        small[name] = small[name][:, :, -kept:].contiguous()
    small["u"] = small["u"][:, :, -rows_of_u:]
    small["noise"] = Noise(ops.noise_keys(1, 1234, 15, (3 + 1024 - kept, 5)))
    assert_close(aligned[-1:, :, -kept:], oracle(operation, small), STEP, 10 * NORMAL)


@pytest.mark.parametrize("device", NATIVE, indirect=True)
def test_callers_in_several_threads(device):
    """Kernels run without the interpreter's lock, and share one team of threads."""
    torch.set_num_threads(2)
    keys = [ops.noise_keys(1, seed).to(device) for seed in range(8)]
    expected = [ops.normal(k, 3, 100, 131) for k in keys]
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for _ in range(3):
            results = list(executor.map(lambda k: ops.normal(k, 3, 100, 131), keys))
            for result, z in zip(results, expected, strict=True):
                assert torch.equal(result, z)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    """As a data loader forks: the child has none of its parent's threads, and must not wait.

    (It calls the kernel alone: torch's own OpenMP team does not survive a fork.)
    """
    cpp = importlib.import_module("ddrm_fast.ops.cpp")
    torch.set_num_threads(2)
    keys, expected, z = (
        ops.noise_keys(1, 3),
        torch.zeros(1, 3, 100, 131),
        torch.zeros(1, 3, 100, 131),
    )
    cpp.normal(expected, keys, 7, 1)
    numbers, same = z.numpy(), expected.numpy()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        cpp.normal(z, keys, 7, 1)
        os.write(writer, b"equal" if (numbers == same).all() else b"other")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"equal"


def test_instruction_sets_agree_bit_for_bit():
    """Which processor runs a step makes no difference."""
    if ops.backends()["cpp"] is not None:
        pytest.skip(ops.backends()["cpp"])
    extension = importlib.import_module("ddrm_fast._C")
    before, sets = extension.get_isa(), extension.available_isas()
    calls = _one_of_each((2, 3, 9, 67), (2, 3, 9, 69), (2, 3, 8, 44), (2, 3, 16, 32))
    try:
        with ops.use_backend("cpp"):
            for operation, arguments in calls:
                results = []
                for isa in sets:
                    extension.set_isa(isa)
                    results.append(operation(**arguments))
                for isa, result in zip(sets, results, strict=True):
                    assert torch.equal(result, results[0]), f"{operation.__name__} on {isa}"
    finally:
        extension.set_isa(before)
