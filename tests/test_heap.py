"""Freed memory stays with the process as long as something asks for that, and no longer.

Each case runs in a process of its own, whose heap holds nothing that other tests have freed.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import heap_runs
import pytest

from ddrm_fast.machine import heap

pytestmark = [
    pytest.mark.skipif(heap._glibc() is None, reason="the C library is not glibc"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
#: pages of 2 MiB, where the system has such, are the fewest that fresh memory can come in
KEPT, FRESH = 10, 40


def alone(function, *arguments):
    """What a function gives in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *arguments).result()


def test_memory_is_reused_inside():
    outside, inside, still, after = alone(heap_runs.faults_before_inside_and_after, 80)
    assert outside >= FRESH and inside < KEPT and still < KEPT and after >= FRESH


@pytest.mark.parametrize("outer, inner", [(True, False), (False, True), (False, False)])
def test_large_pictures_memory_is_given_back(outer, inner):
    full, freed, end, _ = alone(heap_runs.sizes, outer, inner)
    assert freed > full - 100
    assert end < full - 400 if outer or inner else end > full - 100


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
        assert alone(heap_runs.faults_inside) >= FRESH


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    with heap.kept_memory(give_back=True):
        heap.give_back()
    assert heap._users == 0


def test_an_error_inside_ends_it():
    assert alone(heap_runs.faults_after_an_error) >= FRESH
