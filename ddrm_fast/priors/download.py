"""Published checkpoints by name, from where they are published, into one folder; only when asked.

The folder is ``DDRM_FAST_HOME``, or ``ddrm_fast`` in the user's cache. A download that was cut off goes on
where it was. Size and checksum are held against those of the table below where they are known; otherwise the
checksum of the first download is kept beside the file, and a later download has to have the same one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from ..io import OutputError
from ..io.files import in_words, reason, write_atomically

HOME, MIRROR = "DDRM_FAST_HOME", "DDRM_FAST_MIRROR"
_GUIDED = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
_DDPM = "https://image-editing-test-12345.s3-us-west-2.amazonaws.com/checkpoints/"
_PIECE, _PATIENCE = 2**20, 60


@dataclass(frozen=True)
class Published:
    """Where a file is published.

    Args:
        address:
            Its URL.
        what:
            In a few words.
        sha256, size:
            Where they are known.
    """

    address: str
    what: str
    sha256: str | None = None
    size: int | None = None


#: name of a file -> where it is; checksums of 256x256_diffusion_uncond.pt as several programs pin it
PUBLISHED = {
    "64x64_diffusion.pt": Published(f"{_GUIDED}64x64_diffusion.pt", "ImageNet with classes, 64 x 64"),
    "128x128_diffusion.pt": Published(f"{_GUIDED}128x128_diffusion.pt", "ImageNet with classes, 128 x 128"),
    "256x256_diffusion.pt": Published(f"{_GUIDED}256x256_diffusion.pt", "ImageNet with classes, 256 x 256"),
    "256x256_diffusion_uncond.pt": Published(
        f"{_GUIDED}256x256_diffusion_uncond.pt", "ImageNet, 256 x 256",
        "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
    ),
    "512x512_diffusion.pt": Published(f"{_GUIDED}512x512_diffusion.pt", "ImageNet with classes, 512 x 512"),
    "lsun_bedroom.pt": Published(f"{_GUIDED}lsun_bedroom.pt", "LSUN bedrooms, 256 x 256"),
    "lsun_cat.pt": Published(f"{_GUIDED}lsun_cat.pt", "LSUN cats, 256 x 256"),
    "lsun_horse.pt": Published(f"{_GUIDED}lsun_horse.pt", "LSUN horses, 256 x 256"),
    "lsun_horse_nodropout.pt": Published(f"{_GUIDED}lsun_horse_nodropout.pt", "the same without dropout"),
    "64x64_classifier.pt": Published(f"{_GUIDED}64x64_classifier.pt", "a classifier that guides, 64 x 64"),
    "128x128_classifier.pt": Published(f"{_GUIDED}128x128_classifier.pt", "the same, 128 x 128"),
    "256x256_classifier.pt": Published(f"{_GUIDED}256x256_classifier.pt", "the same, 256 x 256"),
    "512x512_classifier.pt": Published(f"{_GUIDED}512x512_classifier.pt", "the same, 512 x 512"),
    "celeba_hq.ckpt": Published(f"{_DDPM}celeba_hq.ckpt", "CelebA-HQ faces, 256 x 256"),
    "bedroom.ckpt": Published(f"{_DDPM}bedroom.ckpt", "LSUN bedrooms, 256 x 256"),
    "church_outdoor.ckpt": Published(f"{_DDPM}church_outdoor.ckpt", "LSUN churches, 256 x 256"),
}  # fmt: skip


def home() -> Path:
    """The folder of downloaded files."""
    given = os.environ.get(HOME)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ddrm_fast"


def downloaded(name: str | Path) -> Path | None:
    """The file of a name that was downloaded, None: there is none."""
    if str(name) not in PUBLISHED:
        return None
    path = home() / str(name)
    return path if path.is_file() else None


def here(name: str | Path) -> Path:
    """A path as it is, if there is such a file; else that of a downloaded file of this name; else itself."""
    path = Path(name)
    return path if path.exists() else downloaded(name) or path


def download(name: str, *, progress: bool | None = None) -> Path:
    """Fetches a published file, unless it is there.

    Args:
        name:
            Of ``PUBLISHED``.
        progress:
            A progress bar; None: only on a terminal.

    Returns:
        Where it is.

    Raises:
        ValueError: There is no such name; the file that came is not the one that was published.
        OSError: The network, the server or the disk fails; what came so far is kept.
    """
    published = PUBLISHED.get(name)
    if published is None:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(PUBLISHED)}")
    path = home() / name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(f".{name}.part")) as part:
            if not path.is_file():  # another process may have finished it meanwhile
                _fetch(_address(published), part, published.size, progress)
                _check(name, published, part)
                os.replace(part.name, path)
    except (HTTPError, URLError, TimeoutError) as error:
        said = getattr(error, "reason", None) or error
        raise OSError(
            f"{_address(published)}: cannot be fetched ({said}); what came so far is kept, and the "
            "same command goes on"
        ) from error
    except OSError as error:
        if error.filename is None and not isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
    return path


def _address(published: Published) -> str:
    """Where it is fetched from: its address, or the folder of copies that ``DDRM_FAST_MIRROR`` names."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return published.address
    return f"{mirror.rstrip('/')}/{urlsplit(published.address).path.rpartition('/')[2]}"


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, open for this process alone: another one waits."""
    with open(part, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _fetch(address: str, part: BinaryIO, size: int | None, progress: bool | None) -> None:
    """Appends what is missing."""
    begun = part.seek(0, os.SEEK_END)
    request = Request(address, headers={"User-Agent": "ddrm_fast"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
    try:
        answer = urlopen(request, timeout=_PATIENCE)
    except HTTPError as error:
        if error.code == 416 and begun:  # nothing is missing
            return
        raise
    with answer:
        if begun and answer.status != 206:  # it begins anew whatever was asked for
            part.truncate(0)
            begun = 0
        total = _length(answer)
        total = size if total is None else begun + total
        hidden = None if progress is None else not progress
        with tqdm(
            total=total, initial=begun, unit="B", unit_scale=True, disable=hidden,
            desc=address.rpartition("/")[2],
        ) as bar:  # fmt: skip
            while piece := answer.read(_PIECE):
                part.write(piece)
                bar.update(len(piece))
        part.flush()
        os.fsync(part.fileno())
    come = part.seek(0, os.SEEK_END)
    if total is not None and come < total:
        raise URLError(f"{in_words(come)} of {in_words(total)} came")


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length")
    return int(text) if text and text.isdigit() else None


def _check(name: str, published: Published, part: BinaryIO) -> None:
    """Removes what came and raises ValueError where it is not what was published."""
    part.seek(0)
    found = hashlib.file_digest(cast(Any, part), "sha256").hexdigest()
    size = part.seek(0, os.SEEK_END)
    beside = home() / f"{name}.sha256"
    known, whose = published.sha256, "published"
    if known is None and beside.is_file():
        known, whose = beside.read_text().split()[0], "downloaded before"
    wrong = None
    if published.size is not None and size != published.size:
        wrong = f"has {size} bytes, expected {published.size}"
    elif known is not None and found != known:
        wrong = f"has SHA-256 {found}, expected {known}, as {whose}"
    if wrong is not None:
        part.truncate(0)
        raise ValueError(
            f"{name}: what came {wrong}; it is removed ({beside} holds the checksum of the first)"
        )
    if not beside.is_file():
        write_atomically(beside, f"{found}  {name}\n".encode())
