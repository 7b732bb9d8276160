"""The generator of dead-leaves pictures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ddrm_fast.training.data.dead_leaves import DeadLeavesConfig, dead_leaves

SMALL = DeadLeavesConfig(size=48)


def test_same_seed_same_picture():
    first, again = dead_leaves(3, 1, SMALL), dead_leaves(3, 1, SMALL)
    assert first.shape == (48, 48, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)


def test_other_seed_or_index_other_picture():
    base = dead_leaves(3, 1, SMALL)
    assert not np.array_equal(base, dead_leaves(4, 1, SMALL))
    assert not np.array_equal(base, dead_leaves(3, 2, SMALL))


def test_pictures_have_contrast_edges_and_flat_parts():
    pictures = np.stack([dead_leaves(0, i, SMALL) for i in range(12)]).astype(float)
    assert pictures.std(axis=(1, 2)).mean() > 15
    steps = np.abs(np.diff(pictures, axis=2)).max(axis=3)
    assert (steps > 40).mean() > 0.005
    assert (steps < 6).mean() > 0.2
    assert 60 < pictures.mean() < 200


@pytest.mark.parametrize("oversampling", [1, 3])
def test_oversampling(oversampling):
    config = DeadLeavesConfig(size=20, oversampling=oversampling)
    assert dead_leaves(0, 0, config).shape == (20, 20, 3)


@pytest.mark.parametrize(
    "values",
    [{"size": 4}, {"oversampling": 0}, {"smallest": 0.0}, {"smallest": 500.0}, {"layers": 0.0}],
)
def test_config_refusals(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DeadLeavesConfig(**values)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        dead_leaves(-1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_that_draw_end_with_their_parent(tmp_path, number):
    """Told to end as a group, they leave it to the parent, without a traceback; killed, they follow it."""
    program = tmp_path / "draw.py"
    program.write_text(
        "import os, signal, sys\n"
        "from ddrm_fast.training.data.leaves import make_leaves\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "    print('ready', flush=True)\n"
        "    make_leaves(0, 4000, workers=2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        wait_for(lambda: len(group_of(process.pid)) >= 3)  # with its workers
        time.sleep(0.5)
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL), said
    assert "Traceback" not in said
    wait_for(lambda: not group_of(process.pid))


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def group_of(leader):
    """Numbers of the processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(words[2]) == leader and words[0] != "Z":
            found.append(int(path.parent.name))
    return found
