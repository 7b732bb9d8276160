"""Freed memory stays with the process as long as something asks for that, and no longer."""

import resource
import sys
from unittest import mock

import pytest
import torch

from ddrm_fast import heap

needs_glibc = pytest.mark.skipif(heap._glibc() is None, reason="the C library is not glibc")


def _faults(megabytes: int) -> int:
    """Pages that the system has to clear for memory that was freed before, the least of some times.

    Of some: the allocator may choose another free place the next time.
    """
    faults = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(megabytes * 2**20, dtype=torch.uint8).fill_(1)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(faults)


def _size(kind: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(kind + ":")) // 1024


@needs_glibc
@pytest.mark.parametrize("megabytes", [24, 80])
def test_memory_is_reused_inside(megabytes):
    with heap.kept_memory():
        assert _faults(megabytes) < 10
        with heap.kept_memory():
            pass
        assert _faults(megabytes) < 10  # leaving an inner one ends nothing
    assert _faults(400) >= 200  # 2 MiB at a time where the system has such pages


@needs_glibc
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("outer", [False, True])
def test_large_pictures_memory_is_given_back(outer):
    before = _size("VmRSS")
    with heap.kept_memory(give_back=outer):
        with heap.kept_memory(give_back=not outer):
            many = [torch.ones(2**20) for _ in range(300)]
            last = torch.ones(2**18)  # holds the heap's end
            del many
        assert _size("VmRSS") > before + 1000
    assert _size("VmRSS") < before + 300
    assert float(last.sum()) == 2**18


@needs_glibc
@pytest.mark.parametrize(
    "settings",
    [
        {"MALLOC_TRIM_THRESHOLD_": "1000"},
        {"MALLOC_MMAP_THRESHOLD_": "1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000"},
    ],
)
def test_what_the_user_chose_stays(settings):
    with mock.patch.dict("os.environ", settings), heap.kept_memory():
        assert _faults(400) >= 200


@needs_glibc
def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    with heap.kept_memory(give_back=True):
        assert _faults(400) >= 200
    heap.give_back()


@needs_glibc
def test_an_error_inside_ends_it():
    with pytest.raises(ValueError, match="on purpose"), heap.kept_memory():
        raise ValueError("on purpose")
    assert _faults(400) >= 200
