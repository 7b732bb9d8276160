"""`ddrm-fast restore` on large pictures: windows, tiles, levels."""

import json

import pytest
import torch
from cli_cases import picture, scene

from ddrm_fast.cli import large, main
from ddrm_fast.io import Picture, read_picture, write_picture

QUICK = ["--task", "sr", "--factor", "2", "--sigma", "0.02", "--prior", "gaussian", "--steps", "3"]
QUICK += ["--samples", "2", "--quiet"]


def restored(*arguments, out="out"):
    assert (
        main([str(word) for word in ["restore", "small.png", "--out", out, *QUICK, *arguments]])
        == 0
    )
    samples = [read_picture(f"{out}/small-sample-{n}.png").pixels for n in (1, 2)]
    with open(f"{out}/small.json") as file:
        return torch.stack(samples), json.load(file)["parameters"].get("large")


@pytest.fixture
def small(here):  # noqa: F811
    return picture("small.png", scene(height=16, width=20))


def test_windows_tiles_and_levels(small):
    """Sizes, what the record says, and that each way is its own."""
    ways = {
        "whole": [],
        "windows": ["--window", "16"],
        "strides": ["--window", "16", "--stride", "12"],
        "levels": ["--window", "16", "--levels", "1"],
        "tiles": ["--large", "joint", "--window", "16"],
        "joint levels": ["--large", "joint", "--levels", "1"],
    }
    found = {}
    for name, arguments in ways.items():
        found[name], record = restored(*arguments, out=name.replace(" ", "-"))
        assert found[name].shape == (2, 3, 32, 40)
        if name == "whole":
            assert record is None
        else:
            assert record["method"] == ("joint" if "joint" in arguments else "mask-shift")
            assert record["levels"] == int("levels" in name)
    for name, x in found.items():
        assert name == "whole" or not torch.equal(x, found["whole"]), name


def test_a_joint_run_of_the_whole_is_a_plain_one(small):
    whole, _ = restored(out="plain")
    joint, record = restored("--large", "joint", out="joint")
    assert torch.equal(joint, whole)
    assert record == {"method": "joint", "window": None, "stride": None, "levels": 0}


def test_other_windows_start_over(small, capsys):
    restored("--window", "16")
    again = ["restore", "small.png", "--out", "out", *QUICK[:-1], "--window", "16"]
    assert main(again) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*again[:-1], "20"]) == 0
    assert "finished already" not in capsys.readouterr().out


def test_grey_pictures_in_tiles(here):  # noqa: F811
    """A network for colours serves them, in tiles with its own halo."""
    write_picture("small.png", picture_of_grey())
    arguments = ["restore", "small.png", "--task", "noise", "--sigma", "0.1", "--samples", "1",
                 "--steps", "1", "--quiet"]  # fmt: skip
    assert main([*arguments, "--out", "whole"]) == 0
    assert main([*arguments, "--out", "tiles", "--large", "joint", "--window", "400"]) == 0
    whole, tiles = (read_picture(f"{out}/small-sample-1.png").pixels for out in ("whole", "tiles"))
    assert tiles.shape[0] == 1 and float((tiles - whole).abs().max()) <= 1 / 255


def picture_of_grey():
    return Picture(scene(channels=1, height=24, width=450))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--window", "0"], "--window: got '0', expected a whole number of at least 1"),
        (["--stride", "x"], "--stride: got 'x'"),
        (["--levels", "-1"], "--levels: got '-1'"),
        (["--window", "16", "--stride", "17"], "--stride: 17 is larger than the window of 16"),
        (["--large", "joint", "--stride", "8"], "--stride: needs --window"),
        (["--window", "64"], "window: 64 x 64 is larger than the picture of 32 x 40"),
        (["--window", "15"], "window: expected multiples of 2"),
        (["--levels", "3", "--window", "16"], "levels: with 3 levels height and width must be"),
        (["--large", "tiles"], "invalid choice"),
    ],
)
def test_wrong_options(small, capsys, arguments, message):
    status = 2 if "tiles" in arguments else 1
    try:
        found = main(["restore", "small.png", *QUICK, *arguments])
    except SystemExit as exit:
        found = exit.code
    error = capsys.readouterr().err
    assert found == status and message in error and "Traceback" not in error


def test_a_large_picture_that_runs_whole_gets_a_hint(small, capsys, monkeypatch):
    monkeypatch.setattr(large, "LARGE", 1000)
    arguments = [word for word in QUICK if word != "--quiet"]
    assert main(["restore", "small.png", "--out", "a", *arguments]) == 0
    assert "0.0 megapixels are restored at once; --window 256" in capsys.readouterr().err
    assert main(["restore", "small.png", "--out", "b", *arguments, "--window", "16"]) == 0
    assert "at once" not in capsys.readouterr().err
