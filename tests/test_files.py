"""Files that are whole or absent, whoever else writes them; what is damaged says so."""

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from ddrm_fast.io import check_writable, write_atomically, write_json
from ddrm_fast.io.files import atomic_file
from ddrm_fast.io.folders import files_in, passed_over
from ddrm_fast.io.foreign import TooLarge, foreign, read_arrays
from ddrm_fast.training.data.sized import load_pictures

WRITER = """
import sys
from ddrm_fast.io.files import atomic_file
for round in range(12):
    with atomic_file("a.bin") as file:
        for _ in range(50):
            file.write(sys.argv[1].encode() * 2000)
            file.flush()
"""


def test_processes_that_write_one_file(here):
    """Nobody ever sees a mixture, a part or nothing, and nothing is left behind."""
    write_atomically("a.bin", b"a" * 100_000)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, w], env=environment) for w in "bc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = (here / "a.bin").read_bytes()
        assert len(content) == 100_000 and len(set(content)) == 1
        seen.add(content[:1])
    assert all(writer.wait() == 0 for writer in writers) and len(seen) >= 2
    assert os.listdir(here) == ["a.bin"]


def test_threads_that_write_one_file(here):
    errors = []

    def write(letter):
        try:
            for _ in range(15):
                with atomic_file("a.bin") as file:
                    file.write(letter * 500)
                    time.sleep(0)
                    file.write(letter * 500)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (here / "a.bin").read_bytes()
    assert not errors and len(content) == 1000 and len(set(content)) == 1
    assert os.listdir(here) == ["a.bin"]


def test_what_a_kill_left_is_overwritten(here):
    (here / ".a.bin.part").write_bytes(b"half of something longer")
    write_atomically("a.bin", b"whole")
    assert os.listdir(here) == ["a.bin"] and (here / "a.bin").read_bytes() == b"whole"
    with atomic_file("b.bin") as file:
        check_writable("b.bin")  # takes nothing away from a process that writes
        file.write(b"whole")
    assert (here / "b.bin").read_bytes() == b"whole" and sorted(os.listdir(here)) == [
        "a.bin",
        "b.bin",
    ]


def test_long_names(here):
    longest = "x" * 255
    write_atomically(longest, b"whole")
    check_writable(longest)
    assert os.listdir(here) == [longest]
    for write in (check_writable, lambda name: write_atomically(name, b"whole")):
        with pytest.raises(ValueError, match="cannot be written .the name is too long"):
            write(longest + "y")
    assert os.listdir(here) == [longest]


@pytest.mark.parametrize(
    "error",
    [zlib.error("bad"), SyntaxError("bad"), IndexError("bad"), KeyError("bad"), RecursionError("bad"),
     NotImplementedError("bad"), OverflowError("bad"), EOFError("bad"), zipfile.BadZipFile("bad")],
)  # fmt: skip
def test_whatever_a_reader_raises_is_one_error(error):
    with (
        pytest.raises(ValueError, match=r"^a\.bin: is no picture \('?bad'?\)$"),
        foreign("a.bin", "is no picture"),
    ):
        raise error
    with pytest.raises(KeyboardInterrupt), foreign("a.bin", "is no picture"):
        raise KeyboardInterrupt


def npz(**arrays):
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_arrays_of_strangers():
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(read_arrays("a", npz(x=x))["x"], x)
    buffer = BytesIO()
    np.save(buffer, x)
    assert np.array_equal(read_arrays("a", buffer.getvalue())[""], x)
    for content in (
        npz(x=np.array([{}], dtype=object)),
        b"PK\3\4 and so on",
        b"",
        buffer.getvalue()[:-8],
    ):
        with pytest.raises(ValueError, match="^a: not readable as an array"):
            read_arrays("a", content)


def test_arrays_that_promise_more_than_they_hold(monkeypatch):
    """Headers are read before anything is unpacked or allocated."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    promise = buffer.getvalue()
    with pytest.raises(ValueError, match="promises 8000000000000 bytes"):
        read_arrays("a", promise)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.npy", promise)
    with pytest.raises(ValueError, match="promises 8000000000000 bytes"):
        read_arrays("a", packed.getvalue())
    bomb = npz(x=np.zeros(10**6))
    assert len(bomb) < 10_000
    monkeypatch.setattr("ddrm_fast.io.foreign.available_bytes", lambda: 10**6)
    with pytest.raises(
        TooLarge, match="a: unpacking it takes 7.6 MiB of memory, 976.6 KiB are free"
    ):
        read_arrays("a", bomb)


def test_json_of_names_that_are_not_utf8(here):
    with pytest.raises(ValueError):
        write_json("a.json", {"name": os.fsdecode(b"\xff")})
    assert not os.listdir(here)
    write_json("a.json", {"name": "ä"})
    assert json.loads((here / "a.json").read_text()) == {"name": "ä"}


def test_folders(here, caplog):
    """Any case, linked folders once, circles of links, hidden ones and others counted."""
    for name in ("a.PNG", "b.JfIf", "sub/c.avif", "sub/d.heic", "e.txt", "f.TXT", "g", ".h.png", ".i/j.png",
                 "sub/k.tga", "l.pgm"):  # fmt: skip
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    os.symlink("..", "sub/up")
    os.symlink("sub", "again")
    os.mkdir(here.parent / (here.name + "-other"))
    (here.parent / (here.name + "-other") / "m.png").touch()
    os.symlink(here.parent / (here.name + "-other"), "linked")
    os.symlink("nowhere.png", "n.png")
    found, others = files_in(".")
    assert [path.as_posix() for path in found] == [
        "a.PNG", "b.JfIf", "l.pgm", "linked/m.png", "n.png", "sub/c.avif", "sub/d.heic", "sub/k.tga"
    ]  # fmt: skip
    assert passed_over(others) == "3 files passed over (.txt 2, no suffix 1)"


def test_arrays_of_trainings(here):
    """Damaged ones, and archives under another name, are refused in one line."""
    np.savez("a.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    os.rename("a.npz", "zip.npy")
    np.save("b.npy", np.zeros((2, 8, 8, 3), np.uint8))
    whole = Path("zip.npy").read_bytes()
    Path("bad.npz").write_bytes(whole[:150] + bytes(10) + whole[160:])
    Path("begun.npy").write_bytes(b"PK\3\4" + Path("b.npy").read_bytes())
    assert len(load_pictures(["b.npy"], 8)) == 2
    for name in ("zip.npy", "bad.npz", "begun.npy"):
        with pytest.raises(ValueError, match=f"^{name}: not readable as an array"):
            load_pictures([name], 8)
