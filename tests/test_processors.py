"""Kernels of processors that are not there: compiled for them, emulated, and compared bit by bit.

The kernels of this machine are held against the float64 reference by ``test_conformance_*.py``, and all
its instruction sets against each other; equal bits carry that over.
"""

import platform

import pytest
from processors import Processor

PORTABLE = Processor("portable", "c++")
#: as of Debian's packages g++-aarch64-linux-gnu and qemu-user
ARM = Processor("neon", "aarch64-linux-gnu-g++", "qemu-aarch64")

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="compares other processors with x86-64"
)


def test_neon_has_the_bits_of_x86():
    """Every kernel: noise, all steps with polynomial and rational rows, half outputs, transforms."""
    for processor in (PORTABLE, ARM):
        if processor.missing():
            pytest.skip(processor.missing())
    expected, actual = PORTABLE.digests(), ARM.digests()
    assert len(expected) > 400
    different = [line for line, other in zip(actual, expected, strict=True) if line != other]
    assert not different


def test_every_kernel_is_among_them():
    """A kernel that is added without a case here would go unproven."""
    if PORTABLE.missing():
        pytest.skip(PORTABLE.missing())
    names = {line.split()[0] for line in PORTABLE.digests()}
    assert names == {
        "alias_step", "block_lift", "block_measure", "block_step", "channel_norm", "dct_fold", "dct_twist",
        "dct_unfold", "dct_untwist", "depthwise_gram", "fwht", "gated_depthwise", "known_step", "normal",
        "pointwise_step", "predict_x0", "spectral_step",
    }  # fmt: skip
