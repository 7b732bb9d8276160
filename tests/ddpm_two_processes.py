"""Run by test_ddpm_accelerate in every one of two processes: what they compute together."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)

from test_ddpm_training import EVERYTHING, QUIET, WITHOUT_DROPOUT, assert_same  # noqa: E402
from tiny_ddpm import pictures  # noqa: E402

from ddrm_fast.ddpm import train  # noqa: E402
from ddrm_fast.training.processes import Accelerated, launched  # noqa: E402

out = Path(sys.argv[1])
machine = launched("cpu")
assert isinstance(machine, Accelerated) and machine.count == 2


def run(name, config=EVERYTHING, **options):
    data = pictures(classes=3)
    return train(config, data, out / name, machine=machine, shown=QUIET, **options)


whole = run("whole")
run("parts", stop_at=2)
parts = run("parts", resume=True)
run("plain", WITHOUT_DROPOUT)
if machine.main:
    assert_same(whole.state(), parts.state())
    assert whole.step == 5
