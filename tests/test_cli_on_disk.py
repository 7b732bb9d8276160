"""`restore` from disk to disk: tasks, a killed run, damaged input, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import torch
from cli_cases import fails
from test_blocks import damage
from test_on_disk import SIZE, stored, whole

from ddrm_fast import DDRM, operators
from ddrm_fast.cli import main, on_disk
from ddrm_fast.io import blocks
from ddrm_fast.io.blocks import write_blocks
from ddrm_fast.large import restore_windows
from ddrm_fast.priors import GaussianPrior

pytest.importorskip("zarr", reason="zarr is not installed: pip install ddrm-fast[large]")
pytest.importorskip("tifffile", reason="tifffile is not installed")

QUICK = ["--prior", "gaussian", "--steps", "2", "--sigma", "0.1", "--quiet"]
WINDOW = ["--window", "48"]
GREY = ["--weights", "0.3,0.5,0.2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mask_file(path, size=SIZE):
    known = (torch.rand(1, *size, generator=torch.Generator().manual_seed(2)) > 0.3).float()
    write_blocks(
        path, tuple(known.shape), "uint8", lambda t, l, h, w: known[:, t : t + h, l : l + w]
    )
    return known > 0


def record(path="x.zarr.json"):
    with open(path) as file:
        return json.load(file)


def expected(y, operator, window=48, **more):
    settings = {"prior": GaussianPrior(), "sampler": DDRM(steps=2), "window": window, **more}
    return restore_windows(y, operator, 0.1, **settings).samples[0, 0]


BOX = torch.ones(SIZE)
BOX[10:40, 20:70] = 0
TASKS = {
    "noise": (3, 1, [], operators.Denoising()),
    "inpaint": (3, 1, ["--mask", "mask.tif"], None),
    "box": (3, 1, ["--mask", "box:10,20,30,50"], operators.Inpainting(BOX)),
    "bayer": (3, 1, ["--mask", "bayer:GRBG"],
              operators.Inpainting(operators.bayer_mask(*SIZE, "GRBG"))),
    "sr": (3, 4, ["--factor", "4"], operators.SuperResolution(4)),
    "color": (1, 1, GREY, operators.Colorization((0.3, 0.5, 0.2))),
    "oldphoto": (1, 2, ["--factor", "2", "--mask", "small.tif", *GREY], None),
    "blur": (3, 1, ["--kernel", "gaussian:1"],
             operators.Blur(operators.gaussian_kernel(1.0), "reflect")),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_tasks(here, name):
    """The numbers of the same run in memory."""
    channels, factor, options, operator = TASKS[name]
    y = stored("y.zarr", channels, factor)
    known = mask_file("mask.tif")
    small = mask_file("small.tif", tuple(n // 2 for n in SIZE))
    if name == "inpaint":
        operator = operators.Inpainting(known[0])
    if name == "oldphoto":
        mask = small[0].repeat_interleave(2, 0).repeat_interleave(2, 1)
        operator = operators.SuperResolution(2, (0.3, 0.5, 0.2), mask)
    if isinstance(operator, operators.Inpainting):
        y = operator.H(y)
    task = name if name not in ("box", "bayer") else "inpaint"
    line = ["restore", "y.zarr", "--task", task, *options, *QUICK, *WINDOW, "--out", "x.zarr"]
    assert main(line) == 0
    assert torch.equal(whole("x.zarr"), expected(y, operator))
    found = record()
    assert found["files"] == ["x.zarr"] and found["sigma_y"] == 0.1
    assert found["parameters"]["task"] == task and found["peak_bytes"] > 0
    if task == "oldphoto" or name == "inpaint":
        assert len(found["parameters"]["task_parameters"]["mask_sha256"]) == 64


def test_options_of_windows(here):
    y = stored("y.zarr")
    options = ["--window", "48x60", "--order", "columns", "--margin", "8", "--batch", "2"]
    line = ["restore", "y.zarr", "--task", "noise", *QUICK, *options, "--out", "x.zarr"]
    assert main(line) == 0
    same = {"order": "columns", "margin": 8, "batch": 2}
    assert torch.equal(whole("x.zarr"), expected(y, operators.Denoising(), (48, 60), **same))
    found = record()["parameters"]
    assert found["window"] == [48, 60] and found["large"].items() >= same.items()


def test_a_finished_picture_is_skipped(here, capsys):
    stored("y.tif", dtype="uint8")
    line = ["restore", "y.tif", "--memory", "4GiB", "--task", "noise", *QUICK[:-1], *WINDOW]
    assert main([*line, "--out", "done"]) == 0
    assert "peak memory" in capsys.readouterr().out
    assert sorted(os.listdir("done")) == ["y.tif", "y.tif.json"]
    before = os.stat("done/y.tif").st_mtime_ns
    assert main([*line, "--out", "done"]) == 0
    assert "done/y.tif  is finished already" in capsys.readouterr().out
    assert os.stat("done/y.tif").st_mtime_ns == before
    assert main([*line, "--out", "done", "--seed", "3"]) == 0
    assert record("done/y.tif.json")["parameters"]["seed"] == 3
    assert os.stat("done/y.tif").st_mtime_ns != before


def test_a_record_is_of_one_result(here, capsys):
    """Pictures with the same pixels and the same name, but for the suffix, are two."""
    y = stored("y.zarr")
    write_blocks(
        "y.tif", tuple(y.shape[1:]), "float32", lambda t, l, h, w: y[0, :, t : t + h, l : l + w]
    )
    line = ["--memory", "4GiB", "--task", "noise", *QUICK[:-1], *WINDOW]
    for seed in ("0", "1"):
        for kind in ("zarr", "tif"):
            out = f"x.{kind}"
            assert main(["restore", f"y.{kind}", *line, "--out", out, "--seed", seed]) == 0
            assert "finished already" not in capsys.readouterr().out
            assert record(f"{out}.json")["files"] == [out]
            assert record(f"{out}.json")["parameters"]["seed"] == int(seed)
        assert torch.equal(whole("x.zarr"), whole("x.tif"))
    os.remove("x.tif")
    assert main(["restore", "y.tif", *line, "--out", "x.tif", "--seed", "1"]) == 0
    assert os.path.exists("x.tif")


def test_a_killed_run_gives_the_same_picture(here):
    """SIGKILL in the middle, then the same line again."""
    stored("y.zarr")
    line = [sys.executable, "-m", "ddrm_fast.cli", "restore", "y.zarr", "--task", "noise"]
    line += [
        "--threads",
        "1",
        "--sigma",
        "0.1",
        "--prior",
        "gaussian",
        "--steps",
        "25",
        "--window",
        "32",
        "--quiet",
    ]
    journal = here / ".x.tif.work/journal.jsonl"
    with subprocess.Popen([*line, "--out", "x.tif"]) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"wave") >= 3:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL
    assert not os.path.exists("x.tif")
    for name in ("x.tif", "whole.tif"):
        assert main([*line[3:], "--out", name]) == 0
    assert record("x.tif.json")["resumed_at_wave"] >= 2
    assert (here / "x.tif").read_bytes() == (here / "whole.tif").read_bytes()
    assert not journal.exists()


def test_an_end_just_before_the_record(here, monkeypatch):
    """The picture is there, its record not yet: the next run knows it for its own."""
    stored("y.zarr")
    line = ["restore", "y.zarr", "--task", "noise", *QUICK, *WINDOW, "--out"]
    assert main([*line, "whole.tif"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(on_disk, "write_json", mock.Mock(side_effect=KeyboardInterrupt))
        assert main([*line, "x.tif"]) != 0
    assert (here / "x.tif").exists() and not (here / "x.tif.json").exists()
    assert main([*line, "x.tif"]) == 0
    assert record("x.tif.json")["resumed_at_wave"] == record("x.tif.json")["waves"]
    assert (here / "x.tif").read_bytes() == (here / "whole.tif").read_bytes()
    assert not list(here.glob(".*.work"))


def test_what_an_end_just_after_the_record_leaves(here, capsys):
    stored("y.zarr")
    line = ["restore", "y.zarr", "--task", "noise", *QUICK, *WINDOW, "--out", "x.tif"]
    assert main(line) == 0
    (here / ".x.tif.work").mkdir()
    assert main(line) == 0
    assert not list(here.glob(".*.work"))


def test_a_damaged_block(here, capsys, monkeypatch):
    monkeypatch.setattr(blocks, "TILE", 32)
    stored("y.zarr")
    damage(here / "y.zarr")
    line = ["restore", "y.zarr", "--task", "noise", *QUICK, *WINDOW, "--out", "x.zarr"]
    said = fails(capsys, *line)
    assert "y.zarr: block (1, 1), rows 32 to 63, columns 32 to 63, cannot be read" in said
    assert main([*line, "--keep-going"]) == 0
    assert len(record()["lost"]) == 1 and whole("x.zarr").shape == (3, *SIZE)


@pytest.mark.parametrize("level", [None, "auto"])
def test_the_noise_is_estimated(here, level):
    x = stored("y.zarr")[0]
    noisy = (0.2 + 0.6 * x + 0.04 * torch.randn(x.shape)).clamp(0, 1)
    write_blocks(
        "n.tif", tuple(x.shape), "uint8", lambda t, l, h, w: noisy[:, t : t + h, l : l + w]
    )
    line = ["restore", "n.tif", "--memory", "4GiB", "--task", "noise", "--quiet", *WINDOW]
    line += ["--prior", "gaussian", "--steps", "2", "--out", "x.tif"]
    assert main([*line, "--sigma", level] if level else line) == 0
    found = record("x.tif.json")
    assert found["sigma_y"] == pytest.approx(0.04, rel=0.3)
    assert found["sigma_y_from"] == "estimated"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--task: is needed for pictures on disk"),
        (["--task", "gain", "--gain", "vignette:0.5"], "--task gain: is not for pictures on disk"),
        (["--task", "noise", "--samples", "2"], "--samples: of a picture on disk one is drawn"),
        (["--task", "noise", "--memory", "much"], "--memory: got 'much', expected bytes such as"),
        (["--task", "noise", "--memory", "64M"], "memory: 1 windows of 48 x 48 take"),
        (["--task", "noise", "--truth", "t.png"], "--truth: is not for pictures on disk"),
        (["--task", "noise", "--levels", "1"], "--large joint, --levels: pictures on disk are"),
        (["--task", "noise", "--arrays"], "--arrays: is not for pictures on disk"),
        (["--task", "noise", "--window", "500"], "window: 500 x 500 is larger than the picture"),
        (["--task", "noise", "--out", "y.zarr"], "y.zarr: is the input itself"),
        (["--task", "noise", "--out", "old.zarr"], "old.zarr: is there and is no result"),
        (["--task", "noise", "--out", "x.png"], "--out: got 'x.png', which ends in .png; expected a"),
        (["--task", "noise", "--workers", "2"], "--workers: belongs to --ray"),
        (["--task", "color"], "y.zarr: has colours, task color on disk expects a grey picture"),
        (["--task", "inpaint", "--mask", "m.png"], "--mask: got 'm.png'; for pictures on disk"),
        (["--task", "inpaint", "--mask", "random:0.5"], "--mask: got 'random:0.5', expected a mask"),
        (["--task", "inpaint", "--mask", "bayer:XYZ"], "--mask bayer:"),
        (["--task", "inpaint", "--mask", "box:1,2,300,4"], "--mask: got 'box:1,2,300,4', expected"),
        (["--task", "inpaint", "--mask", "z.tif"], "--mask: z.tif has 9 x 9 pixels"),
        (["--task", "blur", "--kernel", "motion:9,30"], "--kernel: motion:9,30 is not of odd sides and"),
        (["--task", "blur", "--kernel", "gaussian:1", "--boundary", "periodic"], "--boundary: pict"),
    ],
)  # fmt: skip
def test_what_is_refused(here, capsys, options, message):
    stored("y.zarr")
    stored("old.zarr")
    mask_file("z.tif", (9, 9))
    line = ["restore", "y.zarr", "--out", "x.zarr", *QUICK, *WINDOW, *options]
    assert message in fails(capsys, *line)
    assert not os.path.exists("x.zarr") and not os.path.exists("x.png")


def test_results_of_one_name(here, capsys):
    os.mkdir("other")
    stored("y.zarr")
    stored("other/y.zarr")
    line = ["restore", "y.zarr", "other/y.zarr", "--out", "out", "--task", "noise", *QUICK, *WINDOW]
    said = fails(capsys, *line)
    assert "--out: the results of several inputs would have the name out/y.zarr" in said
    assert not os.path.exists("out")


def test_pictures_in_memory_stay_there(here, capsys):
    stored("y.zarr")
    mask_file("p.tif")
    line = ["restore", "y.zarr", "p.tif", "--task", "noise", *QUICK]
    assert "p.tif: is restored in memory; --memory and --keep-going are for" in fails(capsys, *line)
    assert "is restored in memory" in fails(capsys, "restore", "a.png", "--keep-going", *QUICK)
    line = ["restore", "y.zarr", "p.tif", "--memory", "1GiB", "--out", "x.zarr", "--task", "noise"]
    assert "--out: x.zarr is for one input, expected a folder" in fails(capsys, *line, *QUICK)
