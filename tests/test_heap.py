"""Freed memory stays with the process as long as something asks for that, and no longer.

Each case runs in a process of its own, whose heap holds nothing that other tests have freed.
"""

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
import torch

from ddrm_fast import heap

pytestmark = [
    pytest.mark.skipif(heap._glibc() is None, reason="the C library is not glibc"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
#: pages of 2 MiB, where the system has such, are the fewest that fresh memory can come in
KEPT, FRESH = 10, 40


def alone(function, *arguments):
    """What a function of this file gives in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *arguments).result()


def faults(megabytes=80):
    """Pages that the system clears for memory that was freed just before; the least of some times."""
    found = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(megabytes * 2**20, dtype=torch.uint8).fill_(1)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(found)


def faults_before_inside_and_after(megabytes):
    outside = faults(megabytes)
    with heap.kept_memory():
        inside = faults(megabytes)
        with heap.kept_memory():
            pass
        still = faults(megabytes)  # leaving an inner one ends nothing
    return outside, inside, still, faults(4 * megabytes)


def test_memory_is_reused_inside():
    outside, inside, still, after = alone(faults_before_inside_and_after, 80)
    assert outside >= FRESH and inside < KEPT and still < KEPT and after >= FRESH


def size():
    """MiB of this process that are in memory."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) // 1024


def sizes(outer, inner):
    """With 600 MiB, when they are freed, and at the end."""
    with heap.kept_memory(give_back=outer):
        with heap.kept_memory(give_back=inner):
            many = [torch.ones(2**20) for _ in range(150)]
            last = torch.ones(2**18)  # holds the heap's end
            full = size()
            del many
        freed = size()
    end = size()
    return full, freed, end, float(last.sum())


@pytest.mark.parametrize("outer, inner", [(True, False), (False, True), (False, False)])
def test_large_pictures_memory_is_given_back(outer, inner):
    full, freed, end, _ = alone(sizes, outer, inner)
    assert freed > full - 100
    assert end < full - 400 if outer or inner else end > full - 100


def faults_inside():
    with heap.kept_memory(give_back=True):
        return faults()


@pytest.mark.parametrize(
    "settings",
    [
        {"MALLOC_TRIM_THRESHOLD_": "1000"},
        {"MALLOC_MMAP_THRESHOLD_": "1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000"},
    ],
)
def test_what_the_user_chose_stays(settings):
    with mock.patch.dict("os.environ", settings):
        assert alone(faults_inside) >= FRESH


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    with heap.kept_memory(give_back=True):
        heap.give_back()
    assert heap._users == 0


def faults_after_an_error():
    try:
        with heap.kept_memory():
            raise ValueError("on purpose")
    except ValueError:
        return faults()


def test_an_error_inside_ends_it():
    assert alone(faults_after_an_error) >= FRESH
