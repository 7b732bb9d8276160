"""Pictures, options and failures of the command line tests."""

import json

import torch

from ddrm_fast.cli import main
from ddrm_fast.io import Picture, write_picture

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
    "jpeg": ["--jpeg-quality", "30"],
    "quantize": ["--bits", "3"],
    "saturate": [],
    "gamma": [],
    "phase": [],
}


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
