"""Several processes through accelerate."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_ddpm_training import WITHOUT_DROPOUT, log_of, run

import ddrm_fast
from ddrm_fast.ddpm import Trainer
from ddrm_fast.training import checkpoints
from ddrm_fast.training.processes import OneProcess, launched


def test_two_processes_train_as_one(tmp_path):
    """A resumed run of two equals an uninterrupted one bit for bit; two equal one to rounding, without
    dropout, whose masks are each process's own."""
    pytest.importorskip("accelerate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "ddpm_two_processes.py"
    environment = {**os.environ, "PYTHONPATH": str(Path(ddrm_fast.__file__).parent.parent)}
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
         "--master_port", str(port), str(script), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == ["checkpoint.pt", "ddpm.safetensors", "log.jsonl"]
    alone = run(tmp_path / "alone", WITHOUT_DROPOUT)
    together = checkpoints.read_checkpoint(tmp_path / "plain", Trainer.kind)["network"]
    fresh = Trainer(WITHOUT_DROPOUT, alone.data, OneProcess("cpu")).network.state_dict()
    # of all weights at once: where a gradient is zero but for rounding, Adam makes a step of rounding
    flat = [
        torch.cat([weights[name].flatten() for name in fresh])
        for weights in (alone.network.state_dict(), together, fresh)
    ]
    assert (flat[1] - flat[0]).norm() <= 1e-3 * (flat[0] - flat[2]).norm()
    lines = [log_of(tmp_path / name) for name in ("alone", "plain")]
    for one, two in zip(*lines, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["gradient"] == pytest.approx(two["gradient"], rel=1e-3)


def test_one_process_is_the_rule(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert type(launched("cpu")) is OneProcess
