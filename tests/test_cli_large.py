"""`ddrm-fast restore` on large pictures: windows, tiles, levels."""

import json

import pytest
import torch
from cli_cases import picture, scene

import ddrm_fast
from ddrm_fast.cli import main
from ddrm_fast.io import Picture, read_picture, write_picture
from ddrm_fast.large import advice as large
from ddrm_fast.large import restore_windows, windowed
from ddrm_fast.operators import SuperResolution
from ddrm_fast.priors import GaussianPrior

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


WINDOWS = {
    "margin": (["--window", "16", "--margin", "2"], {"window": 16, "margin": 2}),
    "order": (["--window", "16", "--order", "columns"], {"window": 16, "order": "columns"}),
    "permutation": (
        ["--window", "32x20", "--stride", "32x20", "--order", "1,0"],
        {"window": (32, 20), "stride": (32, 20), "order": (1, 0)},
    ),
    "batch": (["--window", "16", "--batch", "3"], {"window": 16, "batch": 3}),
    "rectangles": (["--window", "16X20"], {"window": (16, 20)}),
    "strides": (["--window", "16", "--stride", "12x8"], {"window": 16, "stride": (12, 8)}),
    "levels": (
        ["--window", "16", "--levels", "1", "--level-factor", "2"],
        {"window": 16, "levels": 1, "factor": 2},
    ),
    "joint levels": (
        ["--large", "joint", "--levels", "1", "--level-factor", "2"],
        {"window": None, "levels": 1, "factor": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WINDOWS)
def test_options_of_windows(small, name):
    """The pictures of the same call from Python; rounded to 8 bits."""
    arguments, keywords = WINDOWS[name]
    found, record = restored(*arguments)
    y = read_picture("small.png").pixels[None]
    expected = restore_windows(
        y, SuperResolution(2), 0.02, GaussianPrior(), ddrm_fast.DDRM(steps=3), num_samples=2,
        **keywords,
    )  # fmt: skip
    assert torch.allclose(found, expected.samples[:, 0], rtol=0, atol=0.51 / 255)
    for keyword, value in keywords.items():
        assert record[keyword] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("arguments", "tiling"),
    [
        (["--window", "16x24", "--stride", "8x16", "--margin", "4"], {"overlap": 8, "halo": 4}),
        (["--window", "16x24", "--margin", "2", "--batch", "4"], {"halo": 2, "batch": 4}),
    ],
)
def test_options_of_tiles(small, arguments, tiling):
    found, _ = restored("--large", "joint", *arguments)
    y, prior = read_picture("small.png").pixels[None], windowed(GaussianPrior(), (16, 24), **tiling)
    expected = ddrm_fast.restore(
        y, SuperResolution(2), 0.02, prior, ddrm_fast.DDRM(steps=3), num_samples=2
    )
    assert torch.allclose(found, expected.samples[:, 0], rtol=0, atol=0.51 / 255)


def test_a_compiled_network(small, monkeypatch):
    whole, _ = restored(out="plain")
    calls = []

    def counted(run, **settings):
        def inside(*arguments):
            calls.append(arguments[0].shape)
            return run(*arguments)

        return inside

    monkeypatch.setattr(torch, "compile", counted)
    assert torch.equal(restored("--compile", out="compiled")[0], whole)
    assert calls.count((1, 3, 32, 40)) >= 3
    with open("compiled/small.json") as file:
        assert json.load(file)["parameters"]["compiled"] is True


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
    assert tiles.shape[0] == 1 and float((255 * (tiles - whole)).round().abs().max()) <= 1


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
        (["--stride", "8x300"], "--stride: 8x300 is larger than the window of 256"),
        (
            ["--window", "16x"],
            "--window: got '16x', expected a whole number of at least 1 or ROWSxCOL",
        ),
        (["--window", "4x4x4"], "--window: got '4x4x4', expected"),
        (["--margin", "-1"], "--margin: got '-1', expected a whole number of at least 0"),
        (["--window", "16", "--margin", "8"], "margin: 8 "),
        (["--batch", "0"], "--batch: got '0'"),
        (
            ["--order", "random"],
            "--order: got 'random', expected rows, columns, snake, or the numbers",
        ),
        (["--window", "16", "--order", "0,1"], "order: expected a permutation of 0 to 11"),
        (["--large", "joint", "--order", "rows"], "--order: is for mask-shift"),
        (
            ["--large", "joint", "--window", "64", "--prior", "default"],
            "--large joint: size: tiles of 64 x 64 leave nothing where 192 pixels, the reach of this net",
        ),
        (["--large", "joint", "--margin", "8"], "--margin: needs --window"),
        (["--large", "joint", "--batch", "8"], "--batch: needs --window"),
        (
            ["--large", "joint", "--window", "16x20", "--stride", "8"],
            "--stride: tiles share as many",
        ),
        (
            ["--large", "joint", "--window", "16", "--margin", "8"],
            "--large joint: overlap: 16 leaves",
        ),
        (["--level-factor", "1", "--levels", "1"], "--level-factor: got '1'"),
        (["--level-factor", "2"], "--level-factor: needs --levels"),
        (["--sampler", "ddim"], "invalid choice"),
        (["--window", "64"], "window: 64 x 64 is larger than the picture of 32 x 40"),
        (["--window", "15"], "window: expected multiples of 2"),
        (["--levels", "3", "--window", "16"], "levels: with 3 levels height and width must be"),
        (["--large", "tiles"], "invalid choice"),
    ],
)
def test_wrong_options(small, capsys, arguments, message):
    status = 2 if message == "invalid choice" else 1
    try:
        found = main(["restore", "small.png", *QUICK, *arguments])
    except SystemExit as exit:
        found = exit.code
    error = capsys.readouterr().err
    assert found == status and message in error and "Traceback" not in error


def test_a_hint_where_the_default_prior_takes_much_memory():
    """Stage by stage: 180 bytes a pixel in bfloat16, 245 in float32, for one sample."""
    prior = ddrm_fast.load_prior()
    prior.precision = "bfloat16"
    assert large.hint((3, 3000, 3500), prior, 1) is None
    said = large.hint((3, 4000, 6000), prior, 1)
    assert said.startswith("24.0 megapixels are restored at once, the quickest way, which takes")
    assert "some 4.0 GiB" in said and "some 4.8 GiB" in large.hint((3, 4000, 6000), prior, 4)
    prior.precision = "float32"
    assert "some 4.0 GiB" in large.hint((3, 4000, 4400), prior, 1)
    on_gpu = large.hint((3, 4000, 4400), prior, 1, "cuda")
    assert on_gpu.startswith("17.6 megapixels are restored at once; --window 256")


def test_a_large_picture_that_runs_whole_gets_a_hint(small, capsys, monkeypatch):
    monkeypatch.setattr(large, "LARGE", 1000)
    arguments = [word for word in QUICK if word != "--quiet"]
    assert main(["restore", "small.png", "--out", "a", *arguments]) == 0
    assert "0.0 megapixels are restored at once; --window 256" in capsys.readouterr().err
    assert main(["restore", "small.png", "--out", "b", *arguments, "--window", "16"]) == 0
    assert "at once" not in capsys.readouterr().err
