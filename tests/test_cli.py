"""The command line: what each command writes, skips, refuses and says."""

import errno
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddrm_fast import __version__, perceptual, restoration
from ddrm_fast.cli import main, results
from ddrm_fast.cli.tasks import TASKS
from ddrm_fast.io import OutputError, Picture, read_measurement, read_picture, write_picture
from ddrm_fast.ops import dispatch
from ddrm_fast.perceptual import Features
from ddrm_fast.priors import load

QUICK = ["--prior", "gaussian", "--steps", "3", "--samples", "2", "--quiet"]
PARAMETERS = {
    "noise": [],
    "sr": ["--factor", "4"],
    "bicubic": ["--factor", "2"],
    "blursr": ["--factor", "2", "--kernel", "gaussian:1"],
    "inpaint": ["--mask", "random:0.5"],
    "color": ["--weights", "0.3,0.6,0.1"],
    "blur": ["--kernel", "motion:5,30"],
    "cs": ["--ratio", "2"],
    "blockcs": ["--ratio", "2", "--block", "4"],
    "oldphoto": ["--factor", "2", "--mask", "box:3,3,5,5"],
    "gain": ["--gain", "vignette:0.4"],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, so that tests name files as people do."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scene(channels=3, height=18, width=22, seed=0):
    """Soft random waves in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 4, 5, generator=generator)
    size = (height, width)
    return 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 1)


def picture(path, pixels=None, **settings):
    write_picture(path, Picture(scene() if pixels is None else pixels, **settings))
    return path


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def record(path):
    return json.loads(path.read_text())


def fails(capsys, *arguments, status=1):
    """Run, expect a failure with one line on standard error, return that line."""
    try:
        found = main([str(word) for word in arguments])
    except SystemExit as exit:  # arguments that do not parse
        found = exit.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert found == status and len(lines) == 1, lines
    assert lines[0].startswith("ddrm-fast") and "Traceback" not in lines[0]
    return lines[0]


@pytest.mark.parametrize("task", TASKS)
def test_degrade_and_restore(here, task):
    """A picture whose sides no factor divides; every result has its size."""
    picture("clean.png")
    arguments = ["--task", task, *PARAMETERS[task], "--sigma", "0.02", "--quiet"]
    assert main(["degrade", "clean.png", *arguments, "--out", "bad"]) == 0
    shown = ["clean.png"] if TASKS[task].shown else []
    assert files(here / "bad") == ["clean.npz", *shown]
    assert main(["restore", "bad/clean.npz", "--truth", "clean.png", *QUICK]) == 0
    found = record(here / "restored/clean.json")
    assert files(here / "restored") == sorted(
        ["clean.json", "clean-mean.png", "clean-sample-1.png", "clean-sample-2.png",
         "clean-sheet.png", "clean-uncertainty.png"]
    )  # fmt: skip
    for name in ("mean", "sample-1", "uncertainty"):
        assert read_picture(here / f"restored/clean-{name}.png").pixels.shape == (3, 18, 22)
    assert found["sigma_y"] == 0.02 and found["sigma_y_from"] == "stored"
    assert 0 < found["residual"]["mean"] < 0.3 and found["psnr"]["mean"] > 5
    assert found["parameters"]["task"] == task and found["backend"] in ("cpp", "reference")


@pytest.mark.parametrize("task", [name for name in TASKS if TASKS[name].shown])
def test_restore_from_a_picture_file(here, task):
    """What a person has: a picture, and words for what happened to it."""
    grey = TASKS[task].grey
    picture("photo.png", scene(1 if grey else 3))
    parameters = list(PARAMETERS[task])
    if "random:0.5" in parameters:
        picture("mask.png", (scene() > 0.3).float())
        parameters = ["--mask", "mask.png"]
    arguments = ["--task", task, *parameters, "--sigma", "5/255"]
    assert main(["restore", "photo.png", *arguments, *QUICK]) == 0
    factor = {"sr": 4, "bicubic": 2, "blursr": 2, "oldphoto": 2}.get(task, 1)
    result = read_picture(here / "restored/photo-mean.png").pixels
    assert result.shape == (3, 18 * factor, 22 * factor)
    assert record(here / "restored/photo.json")["sigma_y"] == pytest.approx(5 / 255)


def test_degrade_writes_the_exact_measurement(here):
    picture("clean.png")
    arguments = ["--task", "inpaint", "--mask", "random:0.5", "--sigma", "0.3", "--out", "bad"]
    assert main(["degrade", "clean.png", *arguments, "--seed", "3"]) == 0
    stored = read_measurement("bad/clean.npz")
    x = read_picture("bad/clean.png").pixels  # the picture of the measurement, clipped
    assert stored.y.min() < 0 and stored.y.max() > 1
    assert torch.allclose(x, stored.y.clamp(0, 1), atol=0.5 / 255 + 1e-6)
    assert 0.3 < stored.arrays["mask"].double().mean() < 0.7


def test_finished_results_are_skipped(here, capsys):
    os.mkdir("in")
    picture("in/a.png")
    picture("in/b.png")
    line = ["restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK[:-1]]
    results = here / "restored"
    assert main(line) == 0
    times = {name: (results / name).stat().st_mtime_ns for name in files(results)}
    capsys.readouterr()
    assert main(line) == 0
    assert capsys.readouterr().out.count("is finished already") == 2
    assert times == {name: (results / name).stat().st_mtime_ns for name in files(results)}

    (results / "a-mean.png").unlink()  # incomplete
    picture("in/b.png", scene(seed=1))  # another picture
    assert main(line) == 0
    assert "already" not in capsys.readouterr().out
    assert main([*line, "--seed", "1"]) == 0  # other parameters
    assert "already" not in capsys.readouterr().out
    assert main([*line, "--seed", "1", "--samples", "1"]) == 0
    assert "a-sample-2.png" not in files(results), "nothing of the earlier run is left"
    assert main([*line, "--seed", "1"]) == 0
    (results / "a.json").write_text("{ not json")
    assert main([*line, "--seed", "1"]) == 0
    assert capsys.readouterr().out.count("is finished already") == 1


def test_an_interrupted_folder_goes_on(here, capsys, monkeypatch):
    os.mkdir("in")
    for name in "abc":
        picture(f"in/{name}.png", scene(seed=ord(name)))
    line = ["restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK[:-1]]
    whole, calls = restoration.restore, []

    def interrupted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments, **keywords)

    monkeypatch.setattr(restoration, "restore", interrupted)
    assert main(line) == 130
    assert (here / "restored/a.json").exists() and not (here / "restored/b.json").exists()
    capsys.readouterr()
    assert main(line) == 0
    assert len(calls) == 4 and capsys.readouterr().out.count("already") == 1


def test_a_folder_goes_on_after_a_bad_file(here, capsys):
    os.makedirs("in/sub")
    picture("in/good.png")
    picture("in/sub/good.png")
    (here / "in/empty.png").write_bytes(b"")
    (here / "in/words.jpg").write_text("no picture " * 20)
    (here / "in/cut.png").write_bytes((here / "in/good.png").read_bytes()[:300])
    (here / "in/notes.txt").write_text("is no business of ours")
    arguments = ["--task", "noise", "--sigma", "0.1", *QUICK]
    assert main(["restore", "in", "missing.png", *arguments]) == 1
    said = capsys.readouterr().err
    for name, why in [("in/empty.png", "is empty"), ("in/words.jpg", "is not a picture"),
                      ("in/cut.png", "truncated"), ("missing.png", "no such file")]:  # fmt: skip
        assert any(name in line and why in line for line in said.splitlines()), (name, said)
    assert "4 of 6 inputs failed" in said and "Traceback" not in said and "notes" not in said
    assert {"good.json", "sub/good.json"} <= set(files(here / "restored"))


def test_messages_of_a_folder_have_the_order_of_its_files(here, capsys):
    """Whichever thread they come from."""
    os.mkdir("in")
    for name in "abcd":
        picture(f"in/{name}.png")
    (here / "in/c.png").write_bytes(b"")
    line = ["restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK[:-1]]
    assert main(line) == 1
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if "restored/" in line]
    assert [line.split()[0] for line in lines] == ["in/a.png", "in/b.png", "in/d.png"]
    assert "in/c.png" in said.err and "is empty" in said.err and "1 of 4 inputs failed" in said.err


def test_a_folder_that_cannot_be_written_ends_at_once(here, capsys, monkeypatch):
    """The same would happen to all that follow: one line, and nothing more is drawn."""
    os.mkdir("in")
    for name in "abcdef":
        picture(f"in/{name}.png")
    drawn, whole = [], restoration.restore

    def counted(*arguments, **keywords):
        drawn.append(1)
        return whole(*arguments, **keywords)

    def full(*arguments):
        raise OutputError("restored/a-sample-1.png: cannot be written (no space left)")

    monkeypatch.setattr(restoration, "restore", counted)
    monkeypatch.setattr(results, "write", full)
    line = fails(capsys, "restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK)
    assert "no space left" in line and len(drawn) <= 2


def test_what_is_drawn_is_what_the_record_says(here, monkeypatch):
    """Settings that suit a task arrive at the sampler."""
    picture("a.png")
    picture("mask.png", (scene(1) > 0.5).float())
    asked, whole = [], restoration.restore

    def watched(y, operator, sigma_y, prior, sampler, **keywords):
        asked.append(repr(sampler))
        return whole(y, operator, sigma_y, prior, replace(sampler, steps=2), **keywords)

    monkeypatch.setattr(restoration, "restore", watched)
    line = [
        "restore",
        "a.png",
        "--prior",
        "gaussian",
        "--samples",
        "1",
        "--quiet",
        "--sigma",
        "0.1",
    ]
    for task in (["noise"], ["inpaint", "--mask", "mask.png"]):
        assert main([*line, "--task", *task, "--out", task[0]]) == 0
        assert record(here / task[0] / "a.json")["parameters"]["sampler"] == asked[-1]
    assert asked[0] != asked[1]


def test_a_folder_takes_the_measurement_before_its_picture(here):
    os.mkdir("in")
    picture("in/a.png")
    assert main(["degrade", "in", "--task", "sr", "--factor", "2", "--out", "bad", "--quiet"]) == 0
    assert main(["restore", "bad", *QUICK]) == 0  # no task: the measurement knows
    assert (
        main(["restore", "bad/a.png", "--out", "other", *QUICK]) == 0
    )  # so does the file beside it
    assert record(here / "restored/a.json")["operator"] == "SuperResolution(factor=2)"
    assert files(here / "restored") == files(here / "other")


def test_files_of_one_name_do_not_meet(here):
    os.mkdir("in")
    picture("in/a.png")
    Image.open("in/a.png").save("in/a.bmp")
    assert main(["restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK]) == 0
    assert {"a.png.json", "a.bmp.json"} <= set(files(here / "restored"))


def test_pictures_of_one_name_in_two_folders_have_results_each(here):
    for folder in "ab":
        os.makedirs(f"{folder}/deep")
        picture(f"{folder}/x.png", scene(seed=ord(folder)))
    picture("a/deep/y.png")
    line = ["restore", "--task", "noise", "--sigma", "0.1", *QUICK]
    assert main([*line, "a", "b", "--out", "folders"]) == 0
    assert main([*line, "a/x.png", "b/x.png", "./a/x.png", "--out", "files"]) == 0
    both = {"a/x.png.json", "b/x.png.json"}
    records = {name for name in files(here / "folders") if name.endswith(".json")}
    assert records == both | {"deep/y.json"}
    assert {name for name in files(here / "files") if name.endswith(".json")} == both
    digests = {record(here / "files" / name)["parameters"]["input_sha256"] for name in both}
    assert len(digests) == 2


def test_results_that_cannot_be_told_apart_are_refused(here, capsys):
    for folder in ("a/in", "b/in"):
        os.makedirs(folder)
        picture(f"{folder}/x.png")
    line = fails(capsys, "restore", "a/in", "b/in", "--task", "noise", *QUICK)
    assert "in/x.png: the results of several inputs would have this name" in line


def test_clean_pictures_are_never_replaced(here, capsys):
    os.mkdir("in")
    picture("in/a.png")
    before = (here / "in/a.png").read_bytes()
    line = fails(capsys, "degrade", "in/a.png", "--task", "noise", "--out", "in")
    assert "would replace the clean picture in/a.png" in line
    assert "folder of inputs" in fails(capsys, "degrade", "in", "--task", "noise", "--out", "in")
    assert files(here / "in") == ["a.png"] and (here / "in/a.png").read_bytes() == before
    Image.open("in/a.png").save("in/b.bmp")
    assert main(["degrade", "in/b.bmp", "--task", "noise", "--out", "in", "--quiet"]) == 0


def test_results_do_not_become_inputs(here, capsys):
    os.mkdir("in")
    picture("in/a.png")
    line = fails(capsys, "restore", "in", "--task", "noise", "--out", "in/../in", *QUICK)
    assert "folder of inputs" in line and files(here / "in") == ["a.png"]
    line = ["restore", "in/a.png", "--task", "noise", "--sigma", "0.1", "--out", "in", *QUICK]
    assert main(line) == 0  # a file may be restored beside itself


def test_json_of_another_program_is_kept(here, capsys):
    picture("a.png")
    (here / "a.json").write_text('{"camera": "mine"}')
    line = fails(capsys, "restore", "a.png", "--task", "noise", "--out", ".", *QUICK)
    assert "a.json: is there and is not a record" in line
    assert record(here / "a.json") == {"camera": "mine"} and len(files(here)) == 2


def test_a_folder_without_task_is_said_once(here, capsys):
    os.mkdir("in")
    for name in "abc":
        picture(f"in/{name}.png")
    assert "none of the 3 inputs is a measurement file" in fails(capsys, "restore", "in", *QUICK)


def test_alpha_depth_and_orientation_are_kept(here):
    alpha = (scene(1)[0] * 65535).round() / 65535
    picture("deep.png", alpha=alpha, bits=16)
    arguments = ["--task", "noise", "--sigma", "0.01", *QUICK]
    assert main(["restore", "deep.png", *arguments]) == 0
    result = read_picture("restored/deep-mean.png")
    assert result.bits == 16 and torch.equal(result.alpha, alpha)
    values = (result.pixels * 65535).round().long() % 257
    assert values.any(), "the low bytes are used"

    image = Image.fromarray((scene().permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save("phone.jpg", exif=exif)
    assert main(["restore", "phone.jpg", *arguments]) == 0
    assert read_picture("restored/phone-mean.png").size == (22, 18)


def test_grey_pictures_stay_grey(here):
    picture("grey.png", scene(1))
    assert main(["restore", "grey.png", "--task", "noise", "--sigma", "0.05", *QUICK]) == 0
    assert read_picture("restored/grey-mean.png").pixels.shape[0] == 1
    with Image.open("restored/grey-mean.png") as image:
        assert image.mode == "L"


def test_noise_level(here):
    """Given, estimated, and never below the rounding of the file."""
    clean = scene(3, 64, 64)
    picture("noisy.png", (clean + 0.1 * torch.randn(clean.shape)).clamp(0, 1))
    picture("flat.png", torch.full((3, 40, 40), 0.5))
    one = [*QUICK, "--samples", "1"]
    assert main(["restore", "noisy.png", "flat.png", "--task", "noise", *one]) == 0
    found = record(here / "restored/noisy.json")
    assert found["sigma_y_from"] == "estimated" and found["sigma_y"] == pytest.approx(0.1, rel=0.1)
    assert record(here / "restored/flat.json")["sigma_y"] == pytest.approx(1 / (255 * 12**0.5))
    assert main(["restore", "noisy.png", "--task", "noise", "--sigma", "0", *one]) == 0
    assert record(here / "restored/noisy.json")["sigma_y"] == pytest.approx(1 / (255 * 12**0.5))


def test_end_on_measurement(here):
    picture("a.png")
    line = ["restore", "a.png", "--task", "sr", "--factor", "2", "--sigma", "0.001", *QUICK]
    residuals = []
    for extra in ([], ["--end-on-measurement"]):
        assert main([*line, *extra]) == 0
        residuals.append(record(here / "restored/a.json")["residual"]["samples"][0])
    assert residuals[1] < 0.5 * residuals[0]


@pytest.mark.parametrize("sampler", ["ddrm", "ddnm", "ddnm+"])
def test_samplers_and_seeds(here, sampler):
    picture("a.png")
    line = ["restore", "a.png", "--task", "sr", "--factor", "2", "--sigma", "0.05", *QUICK]
    line += ["--sampler", sampler, "--eta", "0.9", "--arrays"]
    drawn = []
    for seed in "010":
        assert main([*line, "--seed", seed, "--out", f"seed-{seed}-{len(drawn)}"]) == 0
        drawn.append(np.load(f"seed-{seed}-{len(drawn)}/a-arrays.npz")["samples"])
    assert drawn[0].shape == (2, 3, 36, 44)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


def test_missing_pixels_take_more_steps_unless_told(here):
    picture("a.png")
    assert main(["degrade", "a.png", "--task", "inpaint", "--mask", "random:0.5", "--quiet"]) == 0
    line = ["restore", "degraded/a.npz", "--samples", "1", "--prior", "gaussian", "--quiet"]
    for extra, steps, eta in (
        ([], 50, 1.0),
        (["--steps", "3"], 3, 0.85),
        (["--eta", "0"], 20, 0.0),
    ):
        assert main([*line, *extra, "--out", f"to{steps}"]) == 0
        sampler = record(here / f"to{steps}/a.json")["parameters"]["sampler"]
        assert f"steps={steps}, eta={eta}" in sampler


def test_samplers_that_resample(here):
    """Time travel of one's own, and of repaint; it is part of the record."""
    picture("a.png")
    line = [
        "restore",
        "a.png",
        "--task",
        "sr",
        "--factor",
        "2",
        "--sigma",
        "0.01",
        *QUICK,
        "--arrays",
    ]
    drawn = {}
    for name, extra in {
        "ilvr": ["--sampler", "ilvr"],
        "repaint": ["--sampler", "repaint", "--travel", "1", "1"],
        "travel": ["--sampler", "repaint", "--travel", "1", "2"],
        "ddrm": [],
        "ddrm travel": ["--travel", "2", "2"],
    }.items():
        assert main([*line, *extra, "--out", name]) == 0
        drawn[name] = np.load(f"{name}/a-arrays.npz")["samples"]
        travel = record(here / name / "a.json")["parameters"].get("travel")
        words = tuple(extra[-2:]) if "--travel" in extra else None
        assert travel == (words and f"Travel(length={words[0]}, repeat={words[1]})")
    assert np.array_equal(drawn["ilvr"], drawn["repaint"])
    assert not np.array_equal(drawn["repaint"], drawn["travel"])
    assert not np.array_equal(drawn["ddrm"], drawn["ddrm travel"])


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
    assert "No space left on device" in line and "restored/a-sample-1.png" in line
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


def test_evaluate(here, capsys):
    os.mkdir("clean")
    picture("clean/a.png", scene(3, 32, 32))
    picture("clean/grey.png", scene(1, 32, 40))
    (here / "clean/bad.png").write_bytes(b"")
    cases = "noise-25,sr2-noise,inpaint-50,blur-motion,color"
    line = ["evaluate", "clean", "--cases", cases, "--crop", "24", "--sheets", "sheets", *QUICK]
    assert main(line) == 1
    captured = capsys.readouterr()
    assert "clean/bad.png: is empty" in captured.err and "1 of 3 pictures failed" in captured.err
    found = record(here / "evaluation.json")
    assert [row["case"] for row in found["table"]] == cases.split(",")
    rows = {row["case"]: row for row in found["table"]}
    assert rows["noise-25"]["pictures"] == 2 and rows["color"]["pictures"] == 1
    assert rows["noise-25"]["psnr_input"] == pytest.approx(20.2, abs=0.5)
    assert rows["noise-25"]["psnr_mean"] > rows["noise-25"]["psnr_sample"] > 15
    assert rows["sr2-noise"]["psnr_bicubic"] > 15 and rows["sr2-noise"]["psnr_input"] is None
    assert "noise-25" in captured.out and len(files(here / "sheets")) == 9

    (here / "clean/bad.png").unlink()
    sheets = {p: p.stat().st_mtime_ns for p in (here / "sheets").iterdir()}
    assert main(line) == 0  # everything is there already
    assert sheets == {p: p.stat().st_mtime_ns for p in (here / "sheets").iterdir()}
    assert record(here / "evaluation.json")["table"] == found["table"]


def colour_means(pictures):
    """What a network sees that takes the mean of each colour, in [0, 1]."""
    means = pictures.double().mean(dim=(2, 3)).expand(-1, 3)
    return Features(means, means)


@pytest.fixture
def networks(monkeypatch):
    """Feature networks in closed form; a test may take one away."""
    pytest.importorskip("torchmetrics")

    def distance(estimate, truth):
        assert estimate.shape == truth.shape
        return float((estimate - truth).abs().mean())

    monkeypatch.setattr(perceptual, "load_lpips", lambda *a: distance)
    monkeypatch.setattr(perceptual, "load_inception", lambda *a: colour_means)
    return monkeypatch


def frechet(restored, clean):
    """FID of two lists of pictures for these features, in plain algebra."""
    a, b = (torch.cat([colour_means(x[None]).pooled for x in set_]) for set_ in (restored, clean))
    product = torch.linalg.eigvals(torch.cov(a.T) @ torch.cov(b.T)).sqrt().real.sum()
    spread = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * product
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)


def test_evaluate_compares_sets(here, capsys, networks):
    os.mkdir("clean")
    for number in range(101):
        picture(f"clean/{number:03}.png", scene(3, 8, 8, number))
    picture("clean/grey.png", scene(1, 8, 8))
    line = ["evaluate", "clean", "--cases", "noise-50", "--pictures", "clean/restored"]
    line += ["--prior", "gaussian", "--steps", "1", "--samples", "1", "--quiet"]
    assert main([*line, "--limit", "99"]) == 0
    said = capsys.readouterr().out
    assert (
        "left out: FID, KID and Inception Score of noise-50: 99 pictures, expected at least" in said
    )
    assert main(line) == 0  # its own pictures are no inputs
    said, row = capsys.readouterr().out, record(here / "evaluation.json")["table"][0]
    assert "left out" not in said and "FID" in said and f"{row['fid']:.2f}" in said
    names = [f"{number:03}" for number in range(101)] + ["grey"]
    restored, clean = (
        [
            read_picture(here / f"clean/{folder}{name}.png").pixels.expand(3, -1, -1)
            for name in names
        ]
        for folder in ("restored/noise-50/", "")
    )
    assert row["fid"] == pytest.approx(frechet(restored, clean), rel=1e-6)
    assert row["pictures"] == 102 and row["kid"] is not None and row["inception_score"] >= 1
    assert row["lpips_sample"] is None  # 8 pixels are too few for it


def test_evaluate_goes_on_where_it_has_to(here, capsys, networks):
    """LPIPS that became available, and a sample that is gone or another one, are made; all else is kept."""
    os.mkdir("clean")
    for name in "ab":
        picture(f"clean/{name}.png", scene(3, 32, 32, ord(name)))
    line = ["evaluate", "clean", "--cases", "noise-25,sr2", "--pictures", "kept", *QUICK]
    lost = "LPIPS: needs the weights of AlexNet"

    def missing(*_):
        raise perceptual.Unavailable(lost)

    with networks.context() as patch:
        patch.setattr(perceptual, "load_lpips", missing)
        assert main(line) == 0
    assert f"left out: {lost}" in capsys.readouterr().out
    found = record(here / "evaluation.json")
    assert found["left_out"][0] == lost and "lpips" not in found["results"]["sr2"]["a"]["sample"]
    assert found["table"][0]["psnr_sample"] > 15

    assert main(line) == 0
    said = capsys.readouterr().out
    found = record(here / "evaluation.json")
    # of white noise the mean size is sigma sqrt(2 / pi); clipping takes a little
    expected = 25 / 255 * (2 / math.pi) ** 0.5
    assert found["table"][0]["lpips_input"] == pytest.approx(expected, rel=0.1)
    assert "LPIPS" in said and f"{found['table'][1]['lpips_bicubic']:.3f}" in said

    calls = []
    restore = restoration.restore
    networks.setattr(restoration, "restore", lambda *a, **k: calls.append(1) or restore(*a, **k))
    assert main(line) == 0 and not calls
    (here / "kept/sr2/a.png").unlink()
    picture("kept/noise-25/b.png")  # of another evaluation
    assert main(line) == 0 and len(calls) == 2
    assert main(line) == 0 and len(calls) == 2


def test_evaluate_refuses(here, capsys):
    picture("a.png")
    picture("grey.png", scene(1))
    assert "all inputs are grey" in fails(
        capsys, "evaluate", "grey.png", "--cases", "color", *QUICK
    )
    os.remove("evaluation.json")
    (here / "letter.json").write_text('{"dear": "reader"}')
    assert "--cases: got 'x'" in fails(capsys, "evaluate", "a.png", "--cases", "x", *QUICK)
    line = fails(capsys, "evaluate", "a.png", "--out", "letter.json", *QUICK)
    assert "is not the result of an evaluation" in line
    assert record(here / "letter.json") == {"dear": "reader"}
    assert "is a folder" in fails(capsys, "evaluate", "a.png", "--out", ".", *QUICK)
    os.mkdir("in")
    picture("in/a.png")
    line = fails(capsys, "evaluate", "in", "--pictures", "in", *QUICK)
    assert "--pictures: in holds all the inputs" in line


def test_bench(here, capsys):
    line = ["bench", "--size", "32", "--repeats", "2", "--quiet", "--prior", "gaussian"]
    assert main([*line, "--out", "b"]) == 0
    found = record(here / "b/bench.json")
    figures = [row["backends"]["cpp"] for row in found["table"]]
    assert all(f["seconds"]["p50"] > 0 and f["part_of_copy"]["p50"] > 0 for f in figures)
    assert all(set(row["others"]) == {"eager", "published"} for row in found["table"])
    said = capsys.readouterr().out
    assert "| blur (FFT) step | 1 x 3 x 32 x 32 | float32 | cpp |" in said
    assert "not measured: backend reference on cpu: it is what the others are compared" in said
    assert {entry["what"] for entry in found["skipped"]} >= {"backend cuda on cpu"}
    if not torch.cuda.is_available():
        assert "not measured: device cuda: PyTorch sees no GPU here" in said
        assert "sees no GPU" in fails(capsys, "bench", "--size", "32", "--device", "cuda")
    assert "--compiled: belongs to" in fails(capsys, "bench", "--size", "32", "--compiled")
    assert "--only: got 'x-ray'" in fails(capsys, "bench", "--only", "x-ray")
    line = ["bench", "--size", "32", "--repeats", "1", "--quiet", "--only", "denoising"]
    assert main([*line, "--operations", "--backend", "cpp", "--batch", "2"]) == 0
    said = capsys.readouterr().out
    assert "| fwht_step: 32 x 32, noise inside | 2 x 3 x 32 x 32 |" in said and "x eager" in said
    assert "inpainting step" not in said
    assert "power of two" in fails(capsys, "bench", "--size", "100")
    (here / "taken").write_text("a file where the folder should be")
    assert "cannot be written" in fails(capsys, "bench", "--size", "32", "--out", "taken")


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ddrm-fast {__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for word in ("ddrm_fast", "backends", "instruction set", "threads", "default", "cuda"):
        assert word in said
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backends"]["reference"].startswith("available")


def test_info_explains_a_backend_that_cannot_run(capsys, monkeypatch):
    monkeypatch.setattr(dispatch, "_requested", None)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "abacus")
    dispatch.choose.cache_clear()
    try:
        assert main(["info"]) == 0
    finally:
        monkeypatch.undo()
        dispatch.choose.cache_clear()
    said = capsys.readouterr().out
    assert "abacus, which cannot run (backend: unknown name 'abacus'" in said


@pytest.mark.parametrize("command", ["restore", "degrade", "evaluate", "bench", "info", "train"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert exit.value.code == 0 and "example" in said and f"ddrm-fast {command}" in said
