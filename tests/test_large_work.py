"""The unfinished picture on disk: what is finished survives, also damage at the end of the journal."""

import errno
import os

import pytest
import torch

from ddrm_fast.io import OutputError
from ddrm_fast.large.work import Work

SHAPE = (3, 40, 50)
PARAMETERS = {"seed": 1, "size": [1, 2]}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "work"


def start(folder, **changes):
    return Work(folder, SHAPE, {**PARAMETERS, **changes})


def test_regions_are_kept(folder):
    work = start(folder)
    assert work.finished == 0 and not work.read(0, 0, 40, 50).any()
    expected = torch.zeros(SHAPE)
    for number, (top, left, height, width) in enumerate([(3, 4, 20, 30), (10, 0, 30, 50)]):
        x = torch.randn(3, height, width)
        expected[:, top : top + height, left : left + width] = x
        work.write(top, left, x)
        work.finish_wave(number)
    assert torch.equal(work.read(0, 0, 40, 50), expected)
    assert torch.equal(work.read(7, 9, 11, 1), expected[:, 7:18, 9:10])
    work.close()
    again = start(folder)
    assert again.finished == 2 and torch.equal(again.read(0, 0, 40, 50), expected)
    again.remove()
    assert not folder.exists()


def test_notes_go_on(folder):
    work = start(folder)
    work.note(batch=4)
    work.note(lost=[[1, 2]], batch=5)
    work.close()
    assert start(folder).notes == {"batch": 5, "lost": [[1, 2]]}


@pytest.mark.parametrize("rest", [b'{"wave": 7', b"\0\0\0\n", b'7\n{"wave": 9}\n'])
def test_a_damaged_line_ends_the_journal(folder, rest):
    work = start(folder)
    work.finish_wave(0)
    work.close()
    with open(folder / "journal.jsonl", "ab") as file:
        file.write(rest)
    again = start(folder)
    assert again.finished == 1
    again.finish_wave(1)
    again.close()
    assert start(folder).finished == 2


def test_other_parameters_start_over(folder, caplog):
    work = start(folder)
    work.write(0, 0, torch.ones(3, 5, 5))
    work.finish_wave(0)
    work.close()
    other = start(folder, seed=2)
    assert other.finished == 0 and not other.read(0, 0, 40, 50).any()
    assert "is of a run with other parameters; it starts over" in caplog.text
    other.finish_wave(0)
    other.close()
    (folder / "pixels.f32").write_bytes(b"")  # lost: the journal alone is worth nothing
    assert start(folder, seed=2).finished == 0


def test_two_processes_do_not_share_it(folder):
    first = start(folder)
    with pytest.raises(OutputError, match="another process works on this picture"):
        start(folder)
    first.close()
    start(folder).close()


def test_a_full_disk(folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(
            OutputError, match=r"^[^ ]*: 23.4 KiB for .* cannot be had \(No space left"
        ):
            start(folder)
    work = start(folder)
    work.write(0, 0, torch.ones(3, 5, 5))
    work.finish_wave(0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OutputError, match="work: cannot be written .No space left on device"):
            work.write(0, 0, torch.zeros(3, 5, 5))
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="work: cannot be written .No space left on device"):
            work.finish_wave(1)
    work.close()
    again = start(folder)
    assert again.finished == 1 and again.read(0, 0, 5, 5).eq(1).all()
