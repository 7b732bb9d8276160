"""`degrade` and `restore`: what they refuse, and how they say it."""

import errno
import os

import numpy as np
import pytest
import tifffile
import torch
from cli_cases import QUICK, fails, files, picture, scene
from safetensors.torch import save_file

from ddrm_fast.cli import main
from ddrm_fast.priors import load

BAD_ARGUMENTS = [
    (["--task", "sr"], "--factor: task sr needs it"),
    (["--task", "inpaint"], "--mask: task inpaint needs it"),
    (["--task", "noise", "--factor", "2"], "--factor: task noise does not take it"),
    (["--factor", "2"], "--factor: belongs to a --task"),
    ([], "--task: is needed"),
    (["--task", "sr", "--factor", "two"], "--factor: got 'two'"),
    (["--task", "sr", "--factor", "0"], "--factor: got '0'"),
    (["--task", "noise", "--sigma", "loud"], "--sigma: got 'loud'"),
    (["--task", "noise", "--sigma", "-1"], "--sigma: got '-1'"),
    (["--task", "noise", "--sigma", "nan"], "--sigma: got 'nan'"),
    (["--task", "noise", "--sigma", "1/0"], "--sigma: got '1/0'"),
    (["--task", "noise", "--sigma", "25"], "write 25/255"),
    (["--task", "noise", "--sigma", "25/"], "(pictures are in [0, 1])"),
    (["--task", "noise", "--samples", "0"], "--samples: got '0'"),
    (["--task", "noise", "--steps", "9999"], "steps: expected 1 to 1000"),
    (["--task", "noise", "--seed", "x"], "--seed: got 'x'"),
    (["--task", "noise", "--seed", str(2**64)], "whole number from 0 to 18446744073709551615"),
    (["--task", "noise", "--eta", "2"], "--eta: got '2'"),
    (["--task", "noise", "--sampler", "ddnm", "--eta-b", "1"], "--eta-b: sampler ddnm"),
    (["--task", "noise", "--sampler", "ilvr", "--eta", "1"], "--eta: sampler ilvr"),
    (["--task", "noise", "--travel", "2", "0"], "--travel: got '0'"),
    (["--task", "noise", "--travel", "x", "2"], "--travel: got 'x'"),
    (["--task", "noise", "--backend", "abacus"], "unknown name 'abacus'"),
    (["--task", "noise", "--backend", "cuda"], "backend 'cuda' cannot run"),
    (["--task", "noise", "--threads", "0"], "--threads: got '0'"),
    (["--task", "noise", "--threads", "99999"], "--threads: got '99999'"),
    (["--task", "cs", "--ratio", "2"], "expected a .npz file"),
    (["--task", "inpaint", "--mask", "random:0.5"], "expected a mask file"),
    (["--task", "inpaint", "--mask", "none.png"], "'none.png' is no file"),
    (["--task", "inpaint", "--mask", "small.png"], "4 x 4 pixels"),
    (["--task", "inpaint", "--mask", "black.png"], "measures nothing"),
    (["--task", "inpaint", "--mask", "box:1,1,99,99"], "inside the picture"),
    (["--task", "gain", "--gain", "small.png"], "4 x 4 pixels"),
    (["--task", "blur", "--kernel", "black.png"], "sums to 0"),
    (["--task", "blur", "--kernel", "gaussian:30"], "larger than the picture"),
    (["--task", "inpaint", "--mask", "bayer:WXYZ"], "--mask bayer: pattern: expected four"),
    (["--task", "blur", "--kernel", "motion:x"], "--kernel motion: got 'x'"),
    (["--task", "blur", "--kernel", "uniform:9999"], "--kernel uniform: got '9999'"),
    (["--task", "color", "--weights", "1,2"], "three numbers"),
    (["--task", "noise", "--truth", "small.png"], "small.png has"),
    (["--task", "noise", "--truth", "."], "a.*"),
    (["--task", "noise", "--truth", "none.png"], "--truth: none.png: no such file"),
    (["--task", "noise", "--prior", "none.safetensors"], "no such file"),
    (["--task", "noise", "--prior", "weights.pt"], "not a readable checkpoint"),
    (["--task", "noise", "--prior", "foreign.safetensors"], "no network that is known here"),
    (["--task", "noise", "--prior", "broken.safetensors"], "not a readable"),
    (["--task", "noise", "--out", "taken"], "cannot be written"),
    (
        ["--task", "noise", "--out", "b.gif"],
        "--out: got 'b.gif', which ends in .gif; expected a fol",
    ),
    (["--task", "noise", "--out", "b.zarr"], "--out: got 'b.zarr', which ends in .zarr; expected"),
    (["--task", "noise", "--device", "cuda:99"], "--device: got 'cuda:99' ("),
    (["--task", "noise", "--device", "abacus"], "--device: got 'abacus' ("),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    BAD_ARGUMENTS,
    ids=lambda x: "-" if isinstance(x, str) else " ".join(x)[2:],
)
def test_bad_arguments_are_explained(here, capsys, arguments, message):
    """One line, no traceback, a non-zero status."""
    os.mkdir("in")
    picture("in/a.png")
    picture("small.png", scene(3, 4, 4))
    picture("black.png", torch.zeros(1, 18, 22))
    (here / "weights.pt").write_bytes(b"whatever")
    (here / "broken.safetensors").write_bytes(b"whatever")
    save_file({"w": torch.zeros(2)}, "foreign.safetensors")
    (here / "taken").write_text("a file where the folder should be")
    prior = [] if "--prior" in arguments else ["--prior", "gaussian"]
    sigma = [] if "--sigma" in arguments else ["--sigma", "0.1"]
    assert message in fails(capsys, "restore", "in/a.png", *arguments, *prior, *sigma)
    assert not (here / "restored").exists() or not list((here / "restored").glob("*.json"))


def test_arguments_that_do_not_parse(here, capsys):
    assert "invalid choice" in fails(capsys, "restore", "a.png", "--task", "magic", status=2)
    assert "COMMAND" in fails(capsys, status=2)
    assert "--task" in fails(capsys, "degrade", "a.png", status=2)


def test_the_default_prior_may_be_absent(here, capsys, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT", here / "default.safetensors")
    picture("a.png")
    line = fails(capsys, "restore", "a.png", "--task", "noise", "--sigma", "0.1")
    assert "prior 'default'" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sr", "--factor", "23"], "--factor: 23 is larger than the picture of 18 x 22"),
        (["blockcs", "--ratio", "4", "--block", "40"], "--block: 40 is larger than the picture"),
        (["blockcs", "--ratio", "4", "--block", "65"], "--block: got '65'"),
        (["inpaint", "--mask", "random:50"], "--mask random: got '50', expected a number from 0"),
        (["inpaint", "--mask", "random:1", "--seed", "-1"], "--seed: got '-1'"),
        (["noise", "--seed", str(2**64)], "--seed: got"),
        (["noise", "--sigma", "auto"], "--sigma: got 'auto'"),
    ],
)
def test_bad_arguments_of_degrade(here, capsys, arguments, message):
    picture("a.png")
    assert message in fails(capsys, "degrade", "a.png", "--task", *arguments)
    assert files(here) == ["a.png"]


def test_a_colour_filter_needs_colours(here, capsys):
    picture("grey.png", scene(1))
    line = fails(capsys, "degrade", "grey.png", "--task", "inpaint", "--mask", "bayer:RGGB")
    assert "--mask: bayer:RGGB needs a picture with colours" in line


def test_bad_measurement_files(here, capsys):
    picture("a.png")
    arguments = ["--task", "sr", "--factor", "2", "--quiet", "--out", "bad"]
    assert main(["degrade", "a.png", *arguments]) == 0
    whole = (here / "bad/a.npz").read_bytes()
    (here / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez("foreign.npz", y=np.zeros(3))
    prior = ["--prior", "gaussian"]
    assert "cut.npz: is" in fails(capsys, "restore", "cut.npz", *prior)
    assert "foreign.npz: is not a measurement" in fails(capsys, "restore", "foreign.npz", *prior)
    line = fails(capsys, "restore", "bad/a.npz", "--task", "noise", *prior)
    assert "is a measurement of task sr" in line
    line = fails(capsys, "restore", "bad/a.npz", "--task", "sr", "--factor", "2", *prior)
    assert "leave out --factor" in line
    assert main(["degrade", "a.png", "--task", "cs", "--ratio", "2", "--out", "cs", "--quiet"]) == 0
    line = fails(capsys, "restore", "cs/a.npz", "--sigma", "auto", *prior)
    assert "cs/a.npz: the noise of coefficients cannot be estimated" in line


def test_a_full_disk_ends_the_run(here, capsys, monkeypatch):
    """No picture of a folder can be written: said once."""
    os.mkdir("in")
    for name in "ab":
        picture(f"in/{name}.png")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    line = fails(capsys, "restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK)
    assert "No space left on device" in line and "restored/a.json" in line
    assert files(here / "restored") == []
    line = fails(capsys, "degrade", "in", "--task", "noise", "--quiet")
    assert "No space left on device" in line


def test_empty_folders_and_grey_pictures_without_colour(here, capsys):
    os.mkdir("in")
    assert "holds no pictures" in fails(capsys, "restore", "in", "--task", "noise", *QUICK)
    picture("grey.png", scene(1))
    assert "is grey" in fails(capsys, "degrade", "grey.png", "--task", "color")


def test_results_inside_the_input_folder_are_no_inputs(here):
    os.mkdir("in")
    picture("in/a.png")
    line = ["restore", "in", "--task", "noise", "--sigma", "0.1", "--out", "in/restored", *QUICK]
    assert main(line) == 0
    before = files(here / "in")
    assert main(line) == 0
    assert files(here / "in") == before


def test_wrong_command_lines_are_answered(here):
    """A share of `python tests/fuzz_commands.py 1000`."""
    import fuzz_commands

    fuzz_commands.prepare(here)
    leaks, examples, good = fuzz_commands.fuzz(120, seed=2)
    assert not leaks, "\n".join(f"{leak}\n  {examples[leak]}" for leak in leaks)
    assert good == 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore", "b.tif", "--task", "noise", "--memory", "1e400"], "--memory: got '1e400'"),
        (["restore", "b.tif", "--task", "noise", "--memory", "1"], "--memory: got '1', expected"),
        (["restore", "a.png", "--task", "noise", "--samples", "9" * 30], "--samples: got '999"),
        (["restore", "a.png", "--task", "noise", "--seed", "2^70"], "--seed: got '2^70', expected a whole"),
        (["train", ".", "--magnify", "inf", "--out", "r"], "--magnify: got inf, expected at least 1"),
        (["train-diffir", ".", "--network", "net.json", "--out", "r"], "--network: dim: got 'x'"),
        (["restore", "a.png", "--task", "noise", "--prior", "folder"], "folder/config.json: expected"),
        (["train", ".", "--out", "run", "--resume"], "run/checkpoint.pt is incomplete: config is NoneType"),
    ],
)  # fmt: skip
def test_options_and_files_of_other_kinds(here, capsys, words, said):
    picture(here / "a.png")
    tifffile.imwrite(
        here / "b.tif", np.zeros((64, 64, 3), np.uint8), tile=(32, 32), photometric="rgb"
    )
    (here / "net.json").write_text('{"dim": "x"}')
    for folder in ("folder", "run"):
        (here / folder).mkdir()
    (here / "folder/config.json").write_text("[1]")
    torch.save({"format": "ddrm_fast.training/2", "kind": "denoiser"}, here / "run/checkpoint.pt")
    assert said in fails(capsys, *words)
