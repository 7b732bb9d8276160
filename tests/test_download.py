"""Published checkpoints by name, from a server of this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ddrm_fast import load_prior
from ddrm_fast.cli import main
from ddrm_fast.io.files import OutputError
from ddrm_fast.priors import download as downloads
from ddrm_fast.priors.download import Published, download, downloaded, here

CONTENT = bytes(range(256)) * 5000
NAME = "celeba_hq.ckpt"


class Server(ThreadingHTTPServer):
    """Serves ``content``; breaks off after ``most`` bytes; knows ranges where ``ranges``."""

    content, most, ranges, asked = CONTENT, None, True, ()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked = (*server.asked, (self.path, self.headers.get("Range")))
        begin = 0
        if server.ranges and self.headers.get("Range"):
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if begin >= len(server.content):
                return self.send_error(416)
        body = server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.most])

    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    found = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setenv("DDRM_FAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DDRM_FAST_MIRROR", f"http://127.0.0.1:{found.server_port}/mirror/")
    yield found
    found.shutdown()
    found.server_close()


def test_once_and_then_no_more(server, tmp_path, capsys):
    assert downloaded(NAME) is None
    assert main(["download", NAME, "--quiet"]) == 0
    assert (tmp_path / "home" / NAME).read_bytes() == CONTENT
    assert server.asked == ((f"/mirror/{NAME}", None),)
    assert main(["download", NAME]) == 0 and len(server.asked) == 1
    assert "was here already" in capsys.readouterr().out
    assert main(["download"]) == 0
    said = capsys.readouterr().out
    assert f"{NAME:28}here" in said and "256x256_classifier.pt" in said
    assert not list((tmp_path / "home").glob(".*.part"))


def test_it_goes_on_where_it_was(server):
    server.most = 10**6
    with pytest.raises(OSError, match="goes on"):
        download(NAME)
    assert downloaded(NAME) is None
    server.most = None
    assert download(NAME).read_bytes() == CONTENT
    assert server.asked[1][1] == "bytes=1000000-"


def test_a_server_without_ranges_begins_anew(server):
    server.most, server.ranges = 10**6, False
    with pytest.raises(OSError, match="of 1.2 MiB came"):
        download(NAME)
    server.most = None
    assert download(NAME).read_bytes() == CONTENT


def test_what_is_another_file_is_removed(server, monkeypatch):
    right = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(downloads.PUBLISHED, NAME, Published("http://x/celeba_hq.ckpt", "", right))
    server.content = CONTENT + b"x"
    with pytest.raises(ValueError, match=f"expected {right}, as published"):
        download(NAME)
    assert downloaded(NAME) is None
    server.content = CONTENT
    assert download(NAME).read_bytes() == CONTENT
    monkeypatch.setitem(
        downloads.PUBLISHED, NAME, Published("http://x/celeba_hq.ckpt", "", None, 5)
    )
    download(NAME).unlink()
    with pytest.raises(ValueError, match="has 1280000 bytes, expected 5"):
        download(NAME)


def test_the_first_checksum_is_kept(server):
    download(NAME).unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match="as downloaded before"):
        download(NAME)


def test_errors(server, capsys, monkeypatch, tmp_path):
    assert main(["download", "nothing.pt"]) == 1
    assert "NAME: got 'nothing.pt', expected some of 64x64_diffusion.pt" in capsys.readouterr().err
    assert not server.asked
    with pytest.raises(FileNotFoundError, match="`ddrm-fast download celeba_hq.ckpt` fetches it"):
        load_prior(NAME)
    monkeypatch.setenv("DDRM_FAST_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="cannot be fetched"):
        download(NAME)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDRM_FAST_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        download(NAME)


def test_a_prior_by_its_name(server, tmp_path, monkeypatch):
    """A file in the current folder goes before the one of the same name that was downloaded."""
    monkeypatch.chdir(tmp_path)
    path = download(NAME)
    assert here(NAME) == path and here("other.pt").name == "other.pt"
    with pytest.raises(ValueError, match=str(path)):  # it is found, and is no checkpoint
        load_prior(NAME)
    (tmp_path / NAME).write_bytes(b"mine")
    assert here(NAME).read_bytes() == b"mine"
