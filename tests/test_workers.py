"""Ray workers: the same files as one process, and nothing lost or repeated when one is killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

import ddrm_fast
from ddrm_fast import DDRM, Prior, workers
from ddrm_fast.cli import main
from ddrm_fast.io import Picture, write_picture
from ddrm_fast.io.blocks import BlockPicture, write_blocks
from ddrm_fast.large import InMemory, Memory, mask_shift, windows_of
from ddrm_fast.large.draw import drawer_of_worker
from ddrm_fast.large.mask_shift import on_workers
from ddrm_fast.operators import Denoising
from ddrm_fast.problems import Problem
from ddrm_fast.samplers import Drawing

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ddrm-fast[ray]")

ONE, TWO = workers.Layout(1, 1), workers.Layout(2, 1)
LINE = [
    "--task",
    "noise",
    "--sigma",
    "0.1",
    "--prior",
    "gaussian",
    "--steps",
    "6",
    "--samples",
    "2",
]


@pytest.fixture(scope="module", autouse=True)
def session():
    """A cluster of two cores on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with contextlib.chdir(Path(ddrm_fast.__file__).parents[1]):  # as workers.connect does
        ray.init(
            address="local", num_cpus=2, num_gpus=0, include_dashboard=False,
            object_store_memory=10**8, log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(count=6, size=64):
    """Soft random pictures in the folder `in`."""
    os.mkdir("in")
    generator = torch.Generator().manual_seed(1)
    for number in range(count):
        coarse = torch.rand(1, 3, 6, 6, generator=generator)
        x = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[0].clamp(0, 1)
        write_picture(f"in/{number}.png", Picture(x))


def pictures(where):
    return {path.name: path.read_bytes() for path in sorted(Path(where).glob("*.png"))}


def worker_processes(title=b"ray::_Worker"):
    """Process ids of the actors of this machine; Ray adds what they do to their title, as ``.work``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(title):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_workers_have_the_package_of_the_driver(here):
    """Also where the working folder holds another one of that name."""
    os.mkdir("ddrm_fast")
    Path("ddrm_fast/__init__.py").write_text("raise ImportError('another package')")
    program = """
import ddrm_fast
from ddrm_fast.machine import workers
disconnect = workers.connect(quiet=True)
with workers.Pool(lambda: lambda item: ddrm_fast.__file__, workers.Layout(1, 1)) as pool:
    assert dict(pool.run([0])) == {0: ddrm_fast.__file__}
disconnect()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(ddrm_fast.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_worker_that_dies_is_replaced(here, caplog):
    log = here / "log"

    def make():
        def work(item):
            with open(log, "a") as file:
                file.write(f"{item} {os.getpid()}\n")
            if item == 13 and log.read_text().count("13 ") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return item * item, torch.get_num_threads()

        return work

    with workers.Pool(make, TWO) as pool:
        found = dict(pool.run(range(10, 16)))
        again = dict(pool.run([1]))
    assert found == {index: ((10 + index) ** 2, 1) for index in range(6)} and again == {0: (1, 1)}
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(item for item, _ in lines) == sorted(map(str, [*range(10, 16), 13, 1]))
    assert len({process for item, process in lines if item == "13"}) == 2
    assert "a worker died, its item is started again" in caplog.text


def test_an_item_that_kills_every_worker_is_given_up(here):
    def make():
        return lambda item: os._exit(1) if item == 1 else item

    with workers.Pool(make, ONE, tries=1) as pool:
        found = dict(pool.run(range(3)))
    lost = found.pop(1)
    assert found == {0: 0, 2: 2} and lost.tries == 1 and "died" in lost.reason


def test_errors_of_workers_are_raised(here):
    def refuse(item):
        raise KeyError("not in the table")

    with workers.Pool(lambda: refuse, ONE) as pool, pytest.raises(KeyError, match="not in the"):
        list(pool.run([1]))

    def no_start():
        raise ValueError("no such network")

    with workers.Pool(no_start, ONE, tries=1) as pool:
        with pytest.raises(RuntimeError, match="^workers cannot start: .*no such network"):
            list(pool.run([1, 2]))
    with pytest.raises(ValueError, match="at least one worker and one try"):
        workers.Pool(no_start, ONE, tries=0)


def test_layout_shares_the_cores():
    assert workers.layout() == TWO
    assert workers.layout(1) == workers.Layout(1, 2)
    assert workers.layout(threads=2) == workers.Layout(1, 2)
    with pytest.raises(ValueError, match="^threads: got 3, the largest machine has 2 cores"):
        workers.layout(threads=3)


def test_a_killed_worker_loses_and_repeats_nothing(here, capsys, caplog):
    """As a folder in one process: the same files; what was written before the kill is not touched."""
    folder(size=128)
    (Path("in") / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    line = ["restore", "in", *LINE, "--steps", "200", "--threads", "1"]
    assert main([*line, "--out", "one", "--quiet"]) == 1
    capsys.readouterr()
    before = {}

    def kill():
        finished, deadline = [], time.monotonic() + 120
        while not finished and time.monotonic() < deadline:
            records = list(Path("two").glob("*.json"))
            finished = [path for path in records if "unfinished" not in path.read_text()]
            time.sleep(0.1)  # the worker that wrote it says so, and is at its next
        at_work = []
        while not at_work and time.monotonic() < deadline:  # the other may still be starting
            at_work = worker_processes(b"ray::_Worker.work")
        before.update((path, path.stat().st_mtime_ns) for path in finished)
        os.kill(at_work[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    arguments = [*line, "--out", "two", "--ray", "--workers", "2"]
    assert main(arguments) == 1
    killer.join()
    said = capsys.readouterr()
    assert "broken.png: not readable as a picture" in said.err
    assert "1 of 7 inputs failed" in said.err and said.out.count(" -> two/") == 6
    assert "a worker died, its item is started again" in caplog.text
    assert pictures("two") == pictures("one") and len(pictures("one")) == 6 * 5
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())
    for path in Path("one").glob("*.json"):
        one, two = (json.loads((Path(of) / path.name).read_text()) for of in ("one", "two"))
        for timing in ("seconds", "finished"):
            one.pop(timing), two.pop(timing)
        assert one == two
    assert main([*line, "--out", "two"]) == 1  # a run without workers finds everything there
    assert capsys.readouterr().out.count("is finished already") == 6


def test_a_full_disk_ends_the_run(here, capsys):
    folder(2)
    Path("file").write_text("in the way")
    assert (
        main(
            ["restore", "in", *LINE, "--ray", "--workers", "1", "--out", "file/results", "--quiet"]
        )
        == 1
    )
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].endswith("cannot be written (Not a directory)")


def test_a_running_cluster_by_its_address(here):
    """Another process joins it; the cluster goes on when that process has ended."""
    folder(2)
    address = ray.get_runtime_context().gcs_address
    line = [sys.executable, "-m", "ddrm_fast.cli", "restore", "in", *LINE, "--threads", "1"]
    found = subprocess.run(
        [*line, "--out", "two", "--ray", address, "--workers", "1"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.count(" -> two/") == 2
    assert main([*line[3:], "--out", "one", "--quiet"]) == 0
    assert pictures("one") == pictures("two") and len(pictures("one")) == 10
    assert ray.is_initialized() and ray.cluster_resources()["CPU"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers: belongs to --ray, which is not given"),
        (["--ray", "in"], "--ray: got 'in', which is a file or folder"),
        (["--ray", "--workers", "0"], "--workers: got '0', expected a whole number of at least 1"),
        (["--ray", "--threads", "99"], "threads: got 99, the largest machine has 2 cores"),
        (["--ray", "--prior", "gone"], "prior 'gone': no such file or folder"),
    ],
)
def test_options_that_cannot_be(here, capsys, options, message):
    folder(1)
    assert main(["restore", "in", *LINE, "--quiet", *options]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture
def alone(monkeypatch):
    """A process that is not connected to Ray."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize(
    "address", ["/nope:1", "here", "here:0", "here:65536", "http://here:1", "ray://here", ":1", ""]
)
def test_what_is_no_address(alone, capsys, here, address):
    folder(1)
    assert main(["restore", "in", *LINE, "--quiet", "--ray", address]) == 1
    expected = f"--ray: got {address!r}, expected the address of a cluster: auto, HOST:PORT or ray:"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}", "a..b:{}"])
def test_nobody_listens(alone, capsys, here, address):
    """It is said at once: Ray alone would try for minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # a port of ours, on which nobody listens
        address = address.format(free.getsockname()[1])
        folder(1)
        start = time.monotonic()
        assert main(["restore", "in", *LINE, "--quiet", "--ray", address]) == 1
    assert time.monotonic() - start < 25
    said = capsys.readouterr().err
    assert f"--ray: no Ray cluster can be joined at {address!r} (" in said
    assert "expected the address of a running one: auto, HOST:PORT or ray://HOST:PORT" in said


def test_no_cluster_and_no_ray(alone, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        refuse = partial(_refuse, address, ConnectionError("nobody is\nat home"))
        monkeypatch.setattr(ray, "init", refuse)
        with pytest.raises(ConnectionError, match=rf"^no Ray .* at '{address}' \(nobody is\); exp"):
            workers.connect(address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'ddrm-fast\[ray\]'"):
        workers.connect()


def _refuse(expected, error, **settings):
    assert settings["address"] == expected
    raise error


def test_waves_of_one_picture_are_shared(here):
    """The windows of a wave on two workers, one of which is killed: the bits of one process."""
    marker = here / "killed"

    def dying(x_t, t, labels=None):
        if os.getpid() != driver and t[0] < 300 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.3 * x_t

    driver = os.getpid()
    y = torch.rand(1, 3, 96, 120, generator=torch.Generator().manual_seed(4))
    windows = windows_of((96, 120), 48, 24)
    drawing = Drawing(Prior(dying), DDRM(steps=3), seed=5)
    canvases, advanced = [torch.zeros(1, *y.shape) for _ in range(2)], []
    degraded = InMemory(Problem.of(y, Denoising(), 0.1))
    for _ in mask_shift(degraded, Memory(canvases[0]), windows, drawing, batch=2):
        pass
    with workers.Pool(partial(drawer_of_worker, drawing), TWO) as pool:
        spread = on_workers(pool, advanced.append)
        shared = mask_shift(degraded, Memory(canvases[1]), windows, drawing, batch=2, spread=spread)
        assert [wave.number for wave in shared] == list(range(6))
    assert marker.exists() and torch.equal(*canvases)
    assert sum(advanced) == 96 * 120


def test_windows_that_are_lost_are_named():
    class Dead:
        def run(self, batches):
            yield 0, workers.Lost(3, "the machine is off")

    windows = windows_of((96, 120), 48, 24)
    drawing = Drawing(Prior(lambda x, t: x), DDRM(), seed=5)
    problem = Problem.of(torch.rand(1, 3, 96, 120), Denoising(), 0.1)
    shared = mask_shift(
        InMemory(problem), Memory(torch.zeros(1, 1, 3, 96, 120)), windows, drawing, spread=on_workers(Dead()),
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="row 0, column 0 were lost with 3 workers .the machine"):
        next(shared)


def test_a_picture_on_disk_by_workers(here):
    pytest.importorskip("zarr", reason="zarr is not installed: pip install ddrm-fast[large]")
    x = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(2))
    write_blocks("y.zarr", (3, 70, 90), "uint8", lambda t, l, h, w: x[:, t : t + h, l : l + w])
    line = ["restore", "y.zarr", *LINE[:-2], "--window", "40", "--threads", "1", "--quiet"]
    assert main([*line, "--out", "one.zarr"]) == 0
    assert main([*line, "--out", "two.zarr", "--ray", "--workers", "2"]) == 0
    one, two = (BlockPicture(name).read(0, 0, 70, 90) for name in ("one.zarr", "two.zarr"))
    assert torch.equal(one, two)


def test_a_comparison_has_the_same_figures_by_workers(tmp_path):
    """And goes on where it was, with a picture that nobody can read beside the others."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        x = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(number))
        write_picture(photos / f"{number}.png", Picture(x))
    line = [
        "compare",
        str(photos),
        "--prior",
        "gaussian",
        "--cases",
        "sr2,noise-25",
        "--calls",
        "4",
    ]
    line += ["--samplers", "estimate,ddrm", "--crop", "16", "--quiet", "--device", "cpu"]
    assert main([*line, "--out", str(tmp_path / "one")]) == 0
    (photos / "2.png").write_bytes(b"no picture")
    shared = [*line, "--out", str(tmp_path / "two"), "--ray", "--workers", "2", "--threads", "1"]
    assert main(shared) == 1

    def figures(folder):
        found = json.loads((tmp_path / folder / "compare.json").read_text())["results"]
        return {
            (who, case, name): {k: round(row[k], 3) for k in ("psnr", "residual", "calls")}
            for who, cases in found.items()
            for case, pictures in cases.items()
            for name, row in pictures.items()
        }

    assert len(figures("one")) == 8 and figures("two") == figures("one")
    before = (tmp_path / "two" / "compare.json").stat().st_mtime_ns
    (photos / "2.png").unlink()
    assert main(shared) == 0  # nothing to do but the report
    assert (tmp_path / "two" / "compare.json").stat().st_mtime_ns > before
