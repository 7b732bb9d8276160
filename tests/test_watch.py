"""`restore --watch`: what arrives in a folder is restored."""

import os
import signal
import subprocess
import sys
import time

from cli_cases import fails, picture, scene

from ddrm_fast.cli import inputs


def test_what_arrives_is_restored(here):
    (here / "in/sub").mkdir(parents=True)
    picture("in/first.png", scene(3, 24, 24))
    line = [
        "restore",
        "in",
        "--watch",
        "--task",
        "noise",
        "--sigma",
        "0.1",
        "--prior",
        "gaussian",
        "--threads",
        "1",
    ]
    with open(here / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ddrm_fast.cli", *line], stdout=log, stderr=log
        )

    def waits_for(name):
        deadline = time.monotonic() + 60
        while not (here / name).exists():
            assert process.poll() is None and time.monotonic() < deadline, (
                here / "log"
            ).read_text()
            time.sleep(0.1)

    try:
        waits_for("restored/first.json")
        (here / "in/bad.png").write_bytes(b"nothing")
        picture("in/sub/second.png", scene(3, 24, 24))
        waits_for("restored/sub/second.json")
        assert not (here / "restored/bad.json").exists()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    said = (here / "log").read_text()
    assert "waiting for pictures in in" in said and "in/bad.png: not readable" in said


def test_a_file_that_still_grows_waits(here, monkeypatch):
    os.mkdir("in")
    picture("whole.png", scene(3, 24, 24))
    content = (here / "whole.png").read_bytes()
    looks = []

    def sleep(seconds):
        """Each look finds more of the file; it is whole from the third on."""
        looks.append(len(looks))
        (here / "in/a.png").write_bytes(content[: len(content) * min(3, len(looks)) // 3])
        if len(looks) >= 3:
            os.utime("in/a.png", ns=(10**9, 10**9))

    monkeypatch.setattr(inputs.time, "sleep", sleep)
    (item,) = next(inputs.arrivals(["in"], here / "out"))
    assert item.name == "a" and len(looks) == 4
    assert (here / "in/a.png").read_bytes() == content


def test_what_it_does_not_go_with(here, capsys):
    os.mkdir("in")
    picture("in/a.png", scene(3, 24, 24))
    assert "expected folders" in fails(capsys, "restore", "in/a.png", "--watch", "--task", "noise")
    assert "--task" in fails(capsys, "restore", "in", "--watch")
    assert "--report" in fails(
        capsys, "restore", "in", "--watch", "--task", "noise", "--report", "a.html"
    )
