"""`degrade` and `restore`: what they write, skip and record."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from cli_cases import PARAMETERS, QUICK, fails, files, picture, record, scene
from PIL import Image

from ddrm_fast import restoration
from ddrm_fast.cli import main, results
from ddrm_fast.io import OutputError, read_measurement, read_picture
from ddrm_fast.registry import TASKS


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
    whole, calls = restoration.draw, []

    def interrupted(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments, **keywords)

    monkeypatch.setattr(restoration, "draw", interrupted)
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
    drawn, whole = [], restoration.draw

    def counted(*arguments, **keywords):
        drawn.append(1)
        return whole(*arguments, **keywords)

    def full(*arguments):
        raise OutputError("restored/a-sample-1.png: cannot be written (no space left)")

    monkeypatch.setattr(restoration, "draw", counted)
    monkeypatch.setattr(results, "write", full)
    line = fails(capsys, "restore", "in", "--task", "noise", "--sigma", "0.1", *QUICK)
    assert "no space left" in line and len(drawn) <= 2


def test_what_is_drawn_is_what_the_record_says(here, monkeypatch):
    """Settings that suit a task arrive at the sampler."""
    picture("a.png")
    picture("mask.png", (scene(1) > 0.5).float())
    asked, whole = [], restoration.draw

    def watched(problem, drawing, **keywords):
        asked.append(repr(drawing.sampler))
        quick = replace(drawing, sampler=replace(drawing.sampler, steps=2))
        return whole(problem, quick, **keywords)

    monkeypatch.setattr(restoration, "draw", watched)
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
        ([], "'karras:50:1:0.01'", 1.0),
        (["--steps", "3"], 3, 0.85),
        (["--eta", "0"], 20, 0.0),
    ):
        assert main([*line, *extra, "--out", f"to{eta}"]) == 0
        sampler = record(here / f"to{eta}/a.json")["parameters"]["sampler"]
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


def test_what_was_noted_of_a_prior_is_in_the_record(here, monkeypatch):
    from ddrm_fast.cli import networks

    picture("a.png")
    whole = networks.read_prior

    def noted(*arguments):
        prior = whole(*arguments)
        prior.notes = ("running mean taken",)
        return prior

    monkeypatch.setattr(networks, "read_prior", noted)
    assert main(["restore", "a.png", "--task", "noise", "--sigma", "0.1", *QUICK]) == 0
    assert record(here / "restored/a.json")["prior_notes"] == ["running mean taken"]
