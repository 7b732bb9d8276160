"""Speed of every case, with pytest-benchmark: ``pytest benchmarks/test_speed.py``.

The floor is timed in alternation with the case, in the set-up of each round, so that both see the same
machine; ``extra_info`` holds the median of the pairwise ratios. Nothing here fails because it is slow.
"""

import statistics
import sys
import time
from pathlib import Path

import pytest

from ddrm_fast.bench import OPERATORS, disagreement

sys.path.insert(0, str(Path(__file__).parent))
import cases as registry

ROUNDS = 41


@pytest.mark.parametrize("name", OPERATORS)
def test_correct_first(name):
    """A wrong step has no speed."""
    assert disagreement(OPERATORS[name](64)) < 1e-5


@pytest.mark.parametrize("name", registry.cases())
def test_speed(name, benchmark):
    case = registry.cases()[name]()
    floors = []

    def time_floor() -> None:
        start = time.perf_counter()
        case.floor()
        floors.append(case.streams * (time.perf_counter() - start))

    benchmark.pedantic(case.run, setup=time_floor, rounds=ROUNDS, warmup_rounds=2)
    times = benchmark.stats.stats.data
    ratios = sorted(t / f for t, f in zip(times, floors[-len(times) :], strict=True))
    fifth = len(ratios) // 5
    benchmark.extra_info.update(
        floor=case.floor_name,
        floor_seconds=statistics.median(floors),
        ratio=statistics.median(ratios),
        ratio_p20=ratios[fifth],
        ratio_p80=ratios[-1 - fifth],
        limit=case.limit,
    )


def test_eager_pytorch(benchmark):
    """For comparison: the denoising step in eager PyTorch."""
    benchmark.pedantic(registry.eager_denoising(1024), rounds=ROUNDS, warmup_rounds=2)
