"""`restore` and `degrade` with files as people have them: masks, folders, names, formats, kills, memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_cases import QUICK, fails, files, picture, record, scene
from PIL import Image
from test_picture_files import with_words

from ddrm_fast import restoration
from ddrm_fast.cli import main
from ddrm_fast.io import read_measurement, read_picture, write_picture
from ddrm_fast.io.encode import FORMATS
from ddrm_fast.problems import kernel, mask
from ddrm_fast.problems import measurements as problem_files

CASES = Path(__file__).parent / "cases"
NOISE = ["--task", "noise", "--sigma", "0.05", *QUICK]


def missing(name):
    return mask(str(CASES / name), (40, 56)) == 0


def test_masks_as_they_are_made(caplog):
    good = missing("mask_good.png")
    assert good.sum() == 300
    assert torch.equal(missing("mask_hole_transparent.png"), good)
    with pytest.raises(ValueError, match="mask_0_1.png measures .* value is 0.003922, 1 of 255"):
        missing("mask_0_1.png")
    assert not caplog.text
    assert not missing("truth_rgb.png").all()


def test_masks_with_transparency(tmp_path, caplog):
    """White or black paint on transparency says the same; where both vary, nobody knows."""
    good = missing("mask_good.png")
    path = tmp_path / "m.png"
    alpha = np.where(good, 255, 0).astype(np.uint8)
    Image.merge("LA", [Image.new("L", (56, 40), 0), Image.fromarray(alpha)]).save(
        path
    )  # black strokes
    assert torch.equal(mask(str(path), (40, 56)) == 0, good)
    colours = Image.fromarray(np.arange(40 * 56, dtype=np.uint8).reshape(40, 56))
    Image.merge("LA", [colours, Image.fromarray(alpha)]).save(path)
    with pytest.raises(ValueError, match="m.png has a varying opacity .alpha. and varying colours"):
        mask(str(path), (40, 56))
    Image.new("L", (56, 40), 255).save(path)
    assert mask(str(path), (40, 56)).all()
    assert "m.png leaves nothing missing, it is white throughout" in caplog.text
    Image.new("L", (56, 40), 0).save(path)
    with pytest.raises(ValueError, match="m.png measures nothing, it is black throughout"):
        mask(str(path), (40, 56))


def test_kernels_with_transparency():
    good, drawn = (kernel(str(CASES / f"kernel_{name}.png")) for name in ("good", "in_alpha"))
    assert good.max() == pytest.approx(0.0398, abs=2e-4)
    assert (good - drawn).abs().max() < 2e-4


def test_the_missing_pixels_of_a_mask_in_its_alpha_are_filled(here):
    line = [
        "restore",
        str(CASES / "damaged.png"),
        "--task",
        "inpaint",
        "--sigma",
        "0.01",
        *QUICK,
        "--arrays",
    ]
    for name in ("mask_good", "mask_hole_transparent"):
        assert main([*line, "--mask", str(CASES / f"{name}.png"), "--out", name]) == 0
    one, two = (
        np.load(f"{name}/damaged-arrays.npz")["mean"]
        for name in ("mask_good", "mask_hole_transparent")
    )
    assert np.array_equal(one, two)
    damaged = read_picture(CASES / "damaged.png").pixels.numpy()
    hole = missing("mask_good.png").numpy()
    assert np.abs(one - damaged)[:, hole].mean() > 0.1 > np.abs(one - damaged)[:, ~hole].mean()


@pytest.mark.parametrize("name", ["orientation6.tif", "cmyk_icc.jpg", "planar16.tif"])
def test_results_of_such_files(here, name):
    assert main(["restore", str(CASES / name), *NOISE]) == 0
    found = read_picture(f"restored/{name.partition('.')[0]}-mean.png")
    assert found.pixels.shape == (3, 40, 56) and found.icc is None
    assert found.bits == (16 if name == "planar16.tif" else 8)


def test_a_folder_of_masks(here, capsys):
    os.makedirs("in/deep")
    os.makedirs("masks/deep")
    known = {}
    for number, name in enumerate(["a", "b", "deep/c"]):
        picture(f"in/{name}.png", scene(seed=number))
        known[name] = scene(1, seed=number + 9) > 0.4
        picture(f"masks/{name}.png", known[name].float())
    shutil.move("masks/b.png", "masks/b.PNG")
    line = ["--task", "inpaint", "--mask", "masks"]
    assert main(["degrade", "in", *line, "--quiet"]) == 0
    for name, right in known.items():
        assert torch.equal(read_measurement(f"degraded/{name}.npz").arrays["mask"] > 0, right[0])
    assert main(["restore", "in", *line, *QUICK, "--sigma", "0.1"]) == 0
    masks = {
        record(here / f"restored/{n}.json")["parameters"]["task_parameters"]["mask"] for n in known
    }
    assert masks == {"masks/a.png", "masks/b.PNG", "masks/deep/c.png"}
    os.remove("masks/a.png")
    assert main(["restore", "in", *line, *QUICK, "--sigma", "0.1", "--seed", "1"]) == 1
    said = capsys.readouterr().err
    assert "--mask: no picture a.* in masks" in said and "1 of 3 inputs failed" in said


def test_names_that_cannot_be(here, capsys):
    """Too long for the results, or not UTF-8: those pictures fail, alone."""
    os.mkdir("in")
    for name in ("a", "x" * 245, "z"):
        picture(f"in/{name}.png")
    odd = os.fsdecode(b"odd\xff.png")
    os.rename(picture("in/b.png"), f"in/{odd}")
    assert main(["restore", "in", *NOISE]) == 1
    said = capsys.readouterr().err
    assert "the name is too long" in said and "2 of 4 inputs failed" in said
    assert {"a.json", "z.json"} <= set(files(here / "restored"))
    assert "Traceback" not in said


def test_what_is_passed_over_is_said(here, capsys, caplog):
    os.mkdir("in")
    picture("in/a.png")
    for name in ("b.txt", "c.TXT", "d.xcf"):
        (here / "in" / name).touch()
    caplog.set_level("INFO")
    assert main(["restore", "in", *NOISE]) == 0
    assert "in: 3 files passed over (.txt 2, .xcf 1)" in caplog.text


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_result_by_name(here, suffix):
    """Its suffix is its format; the words of the input are in it."""
    with_words("photo.jpg")
    assert main(["restore", "photo.jpg", *NOISE, "--out", f"better{suffix}"]) == 0
    assert files(here) == sorted(
        ["better-sample-1" + suffix, "better-sample-2" + suffix, "better-sheet.png", "better-uncertainty.png",
         "better.json", f"better{suffix}", "photo.jpg"]
    )  # fmt: skip
    found = read_picture(f"better{suffix}")
    assert found.size == (40, 24) and b'Orientation="1"' in found.xmp
    assert main(["restore", "photo.jpg", *NOISE, "--out", f"one{suffix}", "--samples", "1"]) == 0
    assert {n for n in files(here) if n.startswith("one")} == {
        f"one{suffix}",
        "one-sheet.png",
        "one.json",
    }


def test_formats_of_a_folder(here, capsys):
    os.mkdir("in")
    picture("in/a.png", bits=16)
    line = ["restore", "in", *NOISE]
    assert main([*line, "--format", "tif"]) == 0
    assert read_picture("restored/a-mean.tif").bits == 16
    assert main([*line, "--format", "jpg", "--quality", "20"]) == 0
    assert "a-mean.tif" not in files(here / "restored"), "nothing of the earlier run is left"
    assert read_picture("restored/a-mean.jpg").jpeg.tables[0][0] > 30
    for more, message in [
        (["--format", "png", "--quality", "20"], "--quality: .png has no loss"),
        (["--format", "jpg", "--quality", "101"], "--quality: got '101'"),
        (["--out", "x.jpg"], "--out: got 'x.jpg', which ends in .jpg; expected a folder"),
        (["--out", "x.jpg", "--format", "png"], "--format: got png, but --out is x.jpg"),
    ]:
        assert message in fails(capsys, *line, *more)


def test_a_picture_of_ones_own_is_not_replaced(here, capsys):
    picture("a.png")
    picture("mine.png", scene(seed=2))
    before = (here / "mine.png").read_bytes()
    line = fails(capsys, "restore", "a.png", *NOISE, "--out", "mine.png")
    assert "mine.png is there and is no result" in line
    assert (here / "mine.png").read_bytes() == before
    assert "a.png is there" in fails(capsys, "restore", "a.png", *NOISE, "--out", "a.png")
    for seed in "01":
        assert main(["restore", "a.png", *NOISE, "--out", "b.png", "--seed", seed]) == 0


def test_fewer_samples_after_a_kill(here, monkeypatch):
    """Nothing of a run of four that was killed stays beside the results of two."""
    picture("a.png")
    line = ["restore", "a.png", *NOISE]
    written = []

    def killed(path, *more):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write_picture(path, *more)

    with monkeypatch.context() as patch:
        patch.setattr("ddrm_fast.cli.results.write_picture", killed)
        assert main([*line, "--samples", "4"]) == 130
    assert record(here / "restored/a.json")["unfinished"] and len(files(here / "restored")) == 4
    assert main([*line, "--samples", "2"]) == 0
    assert files(here / "restored") == ["a-mean.png", "a-sample-1.png", "a-sample-2.png", "a-sheet.png",
                                        "a-uncertainty.png", "a.json"]  # fmt: skip
    assert "unfinished" not in record(here / "restored/a.json")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end(here, number):
    """What is being written is whole, the word is said, the status is that of the signal."""
    os.mkdir("in")
    for name in range(30):
        picture(f"in/{name:02}.png", scene(seed=name))
    line = [sys.executable, "-m", "ddrm_fast.cli", "restore", "in", *NOISE[:-1], "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(CASES.parent.parent)}
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, text=True, env=environment,
        # a shell's background jobs, such as this test may be, ignore Ctrl-C, and hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        while process.poll() is None and not Path("restored/01.json").exists():
            time.sleep(0.02)
        process.send_signal(number)
        said = process.stderr.read()
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    assert process.returncode == (143 if number == signal.SIGTERM else 130), said
    assert said.splitlines()[-1] == f"ddrm-fast restore: {word}" and "Traceback" not in said
    for path in Path("restored").glob("*.json"):
        found = json.loads(path.read_text())
        assert found.get("unfinished") or all(
            (path.parent / name).exists() for name in found["files"]
        )


def test_warnings_are_words(here, capsys, monkeypatch):
    """Not places in source files."""
    import warnings

    picture("a.png")
    whole = restoration.restore

    def warned(*arguments, **keywords):
        warnings.warn("y: looks odd", stacklevel=1)
        warnings.warn_explicit("of others", UserWarning, "/lib/site-packages/other/package.py", 3)
        return whole(*arguments, **keywords)

    monkeypatch.setattr(restoration, "restore", warned)
    monkeypatch.setitem(globals(), "__file__", str(Path(restoration.__file__)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["restore", "a.png", *NOISE]) == 0
    assert "package.py" not in capsys.readouterr().err


def test_memory_of_degrade(here, capsys, monkeypatch):
    picture("a.png")
    monkeypatch.setattr("ddrm_fast.io.foreign.available_bytes", lambda: 10_000)
    line = fails(capsys, "degrade", "a.png", "--task", "noise")
    assert (
        "a.png: degrading its 18 x 22 pixels takes 32.5 KiB of memory, 9.8 KiB are free; cut it"
        in line
    )


def test_words_go_through_a_measurement(here):
    with_words("photo.jpg")
    assert main(["degrade", "photo.jpg", "--task", "sr", "--factor", "2", "--quiet"]) == 0
    stored = read_measurement("degraded/photo.npz")
    assert stored.exif and stored.xmp and stored.dpi == (300, 300)
    assert main(["restore", "degraded/photo.npz", *QUICK]) == 0
    found = read_picture("restored/photo-mean.png")
    assert found.exif == stored.exif and found.xmp == stored.xmp
    assert problem_files.shown(stored).shape[1:] == (20, 12)
