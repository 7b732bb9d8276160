"""The page: what is said of a picture, and the page itself in a browser."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from browser import started
from PIL import Image
from scipy.signal import convolve2d

from ddrm_fast.cli import main
from ddrm_fast.cli.commands import serve as serve_command
from ddrm_fast.io import Picture, read_picture, write_picture
from ddrm_fast.operators import Blur, gaussian_kernel, motion_kernel
from ddrm_fast.problems.measured import of_picture
from ddrm_fast.web import desk as desks
from ddrm_fast.web import look, painting, wrongs
from ddrm_fast.web.wrongs import Settings, said

PHOTO = Path(__file__).parent.parent / "examples/chelsea.png"


def photo(size=160):
    return read_picture(PHOTO).pixels[:, :size, 40 : 40 + size].contiguous()


# --- what is said of a picture ---


def test_every_wrong_is_a_task():
    """Each thing that the page offers restores: its task takes such a picture."""
    x = photo(64)
    hole = torch.ones(64, 64, dtype=torch.uint8)
    hole[10:20, 10:20] = 0
    for name in wrongs.WRONGS:
        found = said([name], Settings(quality=30), hole)
        job = of_picture(Picture(x), found.task, found.given, found.sigma)
        assert job.problem.batch == 1, name
        assert found.task in found.line("a b.png", "out.png").split()


@pytest.mark.parametrize(
    "wrong, task",
    [
        (["noise", "small"], "bicubic"), (["small", "blur"], "blursr"), (["blur", "shake"], "blur"),
        (["damage", "grey"], "oldphoto"), (["damage", "grey", "small", "noise"], "oldphoto"),
        (["grey", "small"], "oldphoto"), ([], "noise"),
    ],
)  # fmt: skip
def test_several_at_once(wrong, task):
    whole = torch.ones(64, 64, dtype=torch.uint8)
    whole[5:9, 5:9] = 0
    found = said(wrong, Settings(noise=5.0), whole)
    assert found.task == task and found.sigma == "5/255"
    assert of_picture(Picture(photo(64)), found.task, found.given, found.sigma).problem.batch == 1


def test_what_does_not_go_together():
    whole = torch.ones(8, 8)
    with pytest.raises(ValueError, match="not sharp and damaged do not go together: say the one"):
        said(["blur", "damage"], Settings(), whole)
    with pytest.raises(ValueError, match="^too small and dark corners do not go together"):
        said(["grey", "small", "corners"], Settings(), whole)
    with pytest.raises(ValueError, match="JPEG blocks and grainy"):
        said(["jpeg", "noise"], Settings(), whole)
    with pytest.raises(ValueError, match="paint over"):
        said(["damage"], Settings(), whole)
    with pytest.raises(ValueError, match="all of the picture"):
        said(["damage"], Settings(), 0 * whole)
    with pytest.raises(ValueError, match="for black and white pictures alone"):
        said(["damage", "small"], Settings(), torch.eye(8))


def test_blur_and_shake_are_one_kernel():
    settings = Settings(blur=1.2, shake=9, angle=30)
    both = said(["blur", "shake"], settings, torch.ones(8, 8)).arrays["kernel"]
    one = convolve2d(gaussian_kernel(1.2), motion_kernel(9, 30))
    assert both.shape == one.shape and np.abs(both.numpy() - one / one.sum()).max() < 1e-7


def test_painting():
    layer = np.zeros((20, 30, 4), np.uint8)
    layer[5:10, 10:20, 3] = 255
    found = painting.painted([layer], (40, 60))
    assert found[12:18, 22:38].all() and not found[:8].any() and not found[:, 44:].any()
    assert not painting.painted([], (40, 60)).any()
    x = torch.zeros(3, 4, 4)
    x[0, 1] = 1.0
    assert painting.of_colour(x, "#f00f00", 0.1).nonzero()[:, 0].unique().tolist() == [1]
    assert torch.equal(
        painting.of_colour(x, "rgba(255, 10.5, 0, 1)", 0.1), painting.of_colour(x, "#ff0000", 0.1)
    )
    with pytest.raises(ValueError, match="expected one such as"):
        painting.of_colour(x, "reddish", 0.1)


def test_a_stroke_is_a_kernel():
    drawn = np.zeros((256, 256, 4), np.uint8)
    assert painting.stroke_kernel(drawn, 15) is None
    drawn[120:124, 50:200, 3] = 255
    kernel = painting.stroke_kernel(drawn, 15)
    assert kernel.shape == (1, 15) and float(kernel.sum()) == pytest.approx(1)
    assert torch.allclose(kernel, torch.full((1, 15), 1 / 15), atol=1e-3)


@pytest.mark.parametrize("quality", [20, 50, 80])
def test_looking_finds_compression(tmp_path, quality):
    path = tmp_path / "a.jpg"
    write_picture(path, Picture(photo()), quality)
    found = {each.wrong: each for each in look.look(read_picture(path))}
    assert abs(found["jpeg"].value - quality) <= 2 and found["jpeg"].proposed == (quality < 60)


def test_looking_finds_noise_blur_and_grey():
    x = read_picture(PHOTO).pixels
    noisy = (x + 0.08 * torch.randn_like(x)).clamp(0, 1)
    found = {each.wrong: each for each in look.look(Picture(noisy))}
    assert found["noise"].proposed and 17 < found["noise"].value < 24
    for width in (1.5, 3.0):
        soft = Blur(gaussian_kernel(width), "reflect").H(x[None])[0] + 0.002 * torch.randn_like(x)
        assert abs(look.softness(soft) - width) < 0.5
    grey = x.mean(0, keepdim=True).expand(3, -1, -1)
    assert any(each.wrong == "grey" for each in look.look(Picture(grey)))
    assert not any(each.wrong == "grey" for each in look.look(Picture(x)))
    assert look.softness(x[:, :40, :40]) is None


def test_a_part_is_tried_where_the_damage_is(tmp_path):
    desk = desks.Desk.new(tmp_path)
    with pytest.raises(ValueError, match="open a picture first"):
        _ = desk.opened
    desk.take(read_picture(PHOTO), "chelsea.png")
    damaged = torch.zeros(desk.opened.size, dtype=torch.bool)
    damaged[200:210, 300:310] = True
    rows, columns = desks.part(desk, 1, damaged)
    assert rows.start % 16 == columns.start % 16 == 0
    assert rows.start <= 200 and rows.stop >= 210 and columns.start <= 300 and columns.stop >= 310
    here = desks.part(desk, 2, torch.zeros_like(damaged))
    desk.place = 1
    assert desks.part(desk, 2, torch.zeros_like(damaged)) != here
    desk.clear()
    assert not desk.folder.exists() and desk.stop.is_set()


def test_sizes_are_checked_before_pixels_are_read(tmp_path):
    Image.new("1", (4000, 3000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="has 12.0 megapixels, this page takes 1 at most"):
        desks.check_size(tmp_path / "large.png", 10**6)
    desks.check_size(tmp_path / "large.png", 12 * 10**6)
    (tmp_path / "no.png").write_bytes(b"nothing")
    desks.check_size(tmp_path / "no.png", 1)  # reading it says what is wrong


def test_all_tabs_together_hold_so_many_pictures(tmp_path):
    pytest.importorskip("gradio")
    from ddrm_fast.web.visitors import ROOM, Visitors

    visitors = Visitors(tmp_path, 3600)
    write_picture(tmp_path / "a.png", Picture(photo(60)))
    for number in range(ROOM):
        desk = visitors.desk(SimpleNamespace(session_hash=str(number)))
        visitors.open(desk, tmp_path / "a.png")
        assert desk.pixels == 3600
    late = visitors.desk(SimpleNamespace(session_hash="late"))
    with pytest.raises(ValueError, match="try again in a while"):
        visitors.open(late, tmp_path / "a.png")
    visitors.leave(SimpleNamespace(session_hash="0"))
    assert late.uploads == [tmp_path / "a.png"] and not desk.uploads[1:]
    write_picture(tmp_path / "b.png", Picture(photo(60)))
    visitors.open(late, tmp_path / "b.png")
    visitors.clear()
    assert not (tmp_path / "b.png").exists()


def test_options(tmp_path, capsys):
    for words, complaint in (
        (["--port", "99999999"], "port"), (["--memory", "much"], "--memory"), (["--minutes", "0"], "minutes"),
        (["--login", str(tmp_path / "none")], "--login"), (["--megapixels", "0"], "megapixels"),
    ):  # fmt: skip
        assert main(["serve", *words]) == 1
        assert complaint in capsys.readouterr().err
    (tmp_path / "people").write_text("anna\n")
    assert main(["serve", "--login", str(tmp_path / "people")]) == 1
    assert "NAME:PASSWORD" in capsys.readouterr().err
    assert "password" in serve_command.EXAMPLE


# --- the page in a browser ---


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a server of this page listens, and its folder for files."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("served")
    people = folder / "people.txt"
    people.write_text("anna:secret\n")
    words = ["serve", "--port", "0", "--threads", "1", "--megapixels", "3"]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ddrm_fast.cli", *words], stdout=log, stderr=log, env=environment
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"the page: (http\S+)", (folder / "log").read_text())):
            assert server.poll() is None and time.monotonic() < deadline, (
                folder / "log"
            ).read_text()
            time.sleep(0.2)
        yield found[1], folder
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    assert not list(folder.glob("ddrm-fast-page-*")), "files are left"


@pytest.fixture(scope="module")
def browser():
    with started() as chromium:
        yield chromium


@pytest.fixture
def tab(browser, address):
    context = browser.new_context(viewport={"width": 1100, "height": 1300}, accept_downloads=True)
    page = opened(context, address[0])
    yield page
    context.close()


def opened(context, address):
    page = context.new_page()
    page.elsewhere = []
    page.on(
        "request",
        lambda r: r.url.startswith((address, "data:", "blob:")) or page.elsewhere.append(r.url),
    )
    page.goto(address)
    page.wait_for_selector("#open input[type=file]", state="attached")
    return page


def put(page, path):
    page.set_input_files("#open input[type=file]", str(path))


def says(page, what, seconds=60):
    page.wait_for_function(
        "what => document.querySelector('#message').innerText.includes(what)",
        arg=what,
        timeout=1000 * seconds,
    )


def reopen(page, path):
    """Another picture in place of the one that is open."""
    page.locator(
        "#open button[aria-label='Clear'], #open button[aria-label='Remove this file']"
    ).first.click()
    page.wait_for_selector("#open input[type=file]", state="attached")
    put(page, path)


def finished(page, path):
    """Restores the picture and saves the result; returns the name under which it came."""
    page.click("#go")
    says(page, "done")
    page.wait_for_selector("#result img")
    with page.expect_download() as got:
        page.click("#download")
    got.value.save_as(path)
    return got.value.suggested_filename


def noisy(folder, size=160, name="noisy.png"):
    x = photo(size)
    write_picture(folder / name, Picture((x + 0.08 * torch.randn_like(x)).clamp(0, 1)))
    return folder / name


def test_from_opening_to_a_download(tab, address, here, capsys):
    """What the page makes is what the line that it shows makes, bit for bit."""
    put(tab, noisy(here))
    tab.wait_for_selector("#tried img")
    assert tab.locator("#wrongs label:has-text('grainy') input").is_checked()
    assert "grain of about" in tab.locator("#seen").inner_text()
    says(tab, "tried on a part")
    assert "takes about" in tab.locator("#cost").inner_text()
    assert finished(tab, here / "got.png") == "noisy-restored.png"
    line = tab.locator("#line textarea").input_value()
    assert line == "ddrm-fast restore noisy.png --task noise --out noisy-restored.png"
    assert main([*line.split()[1:], "--quiet", "--threads", "1"]) == 0
    assert (here / "got.png").read_bytes() == (here / "noisy-restored.png").read_bytes()
    assert "nothing in it contradicts your picture" in tab.locator("#words").inner_text()
    tab.click("#on")  # the result is what comes next
    tab.wait_for_function(
        "document.querySelector('#seen').innerText.includes('noisy-restored.png')"
    )
    assert not tab.elsewhere


def test_what_a_camera_writes_comes_back(tab, here):
    """Turned by its EXIF, JPEG, with the camera's name; then 16 bits with opacity."""
    exif = Image.Exif()
    exif[271], exif[274] = "A camera", 6
    grainy = (photo(128)[:, :96] + 0.1 * torch.randn(3, 96, 128)).clamp(0, 1)
    values = (255 * grainy).round().byte().permute(1, 2, 0)
    Image.fromarray(values.numpy()).save(here / "turned.jpg", quality=95, exif=exif)
    put(tab, here / "turned.jpg")
    tab.wait_for_selector("#tried img")
    assert "128 x 96" not in tab.locator("#seen").inner_text()
    assert "96 x 128, 8 bits, colour" in tab.locator("#seen").inner_text()
    says(tab, "tried on a part")
    assert finished(tab, here / "got.jpg") == "turned-restored.jpg"
    with Image.open(here / "got.jpg") as image:
        assert image.size == (96, 128) and image.getexif()[271] == "A camera"
        assert image.getexif().get(274, 1) == 1  # it stands upright by now
    deep = Picture(photo(64), alpha=torch.linspace(0, 1, 64).expand(64, 64), bits=16)
    write_picture(here / "deep.png", deep)
    reopen(tab, here / "deep.png")
    tab.wait_for_function("document.querySelector('#seen').innerText.includes('16 bits')")
    says(tab, "tried on a part")
    assert finished(tab, here / "got.png") == "deep-restored.png"
    got = read_picture(here / "got.png")
    assert got.bits == 16 and got.pixels.mul(65535).round().remainder(257).count_nonzero() > 0
    assert float((got.alpha - deep.alpha).abs().max()) < 1e-4


def test_the_slider_is_drawn_by_the_mouse(tab, here):
    put(tab, noisy(here))
    tab.wait_for_selector("#tried img")
    handle = tab.locator("#tried [data-testid=slider]")
    handle.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)

    def seen():
        """The share of the width where the picture before is."""
        return tab.evaluate(
            "[...document.querySelectorAll('#tried img')].map(e => e.style.clipPath).filter(Boolean)[0]"
        )

    first, box = seen(), handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 100, y, steps=5)
    tab.mouse.up()
    assert seen() != first


def test_painted_damage(tab, here):
    put(tab, noisy(here, 200))
    tab.wait_for_selector("#tried img")
    tab.locator("#wrongs label:has-text('damaged') input").check()
    says(tab, "paint over")
    tab.wait_for_selector("#paint canvas")
    tab.wait_for_timeout(1000)
    tab.locator("#paint").scroll_into_view_if_needed()
    box = tab.locator("#paint canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    for k in range(12):
        tab.mouse.move(x + 4 * k, y + 2 * k)
    tab.mouse.up()
    says(tab, "tried on a part")
    tab.click("#go")
    says(tab, "done")
    line = tab.locator("#line textarea").input_value()
    assert "--task inpaint --mask noisy-mask.png" in line


def test_a_mask_and_a_colour_in_place_of_a_brush(tab, here):
    x = photo(160)
    x[:, 70:74] = 1.0
    write_picture(here / "white.png", Picture(x))
    whole = torch.ones(160, 160)
    whole[20:30, 20:60] = 0
    write_picture(here / "mask.png", Picture(whole[None]))
    write_picture(here / "other.png", Picture(whole[None, :50]))
    put(tab, here / "white.png")
    tab.wait_for_selector("#tried img")
    tab.locator("#wrongs label:has-text('damaged') input").check()
    tab.click("text=without a brush")
    tab.set_input_files("#mask input[type=file]", str(here / "other.png"))
    says(tab, "expected the picture's 160 x 160")
    tab.click("#take")
    says(tab, "tried on a part")
    finished(tab, here / "got.png")
    restored = read_picture(here / "got.png").pixels
    assert float(restored[:, 70:74].mean()) < 0.8  # no longer white


def test_stop_and_a_closed_tab(browser, address, here):
    """A run ends when it is stopped; one whose tab is closed ends too, and its files are gone."""
    context = browser.new_context()
    page = opened(context, address[0])
    x = read_picture(PHOTO).pixels
    write_picture(here / "large.png", Picture(x.repeat(1, 3, 2)))
    put(page, here / "large.png")
    page.wait_for_selector("#tried img")
    page.locator("#wrongs label:has-text('not sharp') input").check()
    says(page, "tried on a part")
    page.wait_for_timeout(3000)
    page.click("#go")
    says(page, "left")  # it says how long it will still take
    page.click("#stop")
    says(page, "stopped", 20)
    page.click("#go")
    says(page, "left")
    folders = [each for each in address[1].glob("ddrm-fast-page-*/tmp*") if each.is_dir()]
    sent = list(address[1].glob("ddrm-fast-page-*/**/large.png"))
    assert folders and sent
    page.close()
    context.close()
    deadline = time.monotonic() + 30
    while any(each.exists() for each in [*folders, *sent]) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert not any(each.exists() for each in [*folders, *sent])
    context = browser.new_context()  # and the next visitor does not wait for it
    page = opened(context, address[0])
    put(page, noisy(here, 64))
    page.wait_for_selector("#tried img", timeout=20000)
    context.close()


def test_files_that_are_no_pictures(tab, here):
    (here / "words.png").write_text("no picture")
    put(tab, here / "words.png")
    says(tab, "not readable as a picture")
    assert tab.locator("#message [role=alert]").count() == 1
    assert str(here) not in tab.locator("#message").inner_text()
    Image.new("RGB", (4000, 2000)).save(here / "large.png")
    tab.wait_for_timeout(2000)  # nothing is tried of it, which would say something else
    says(tab, "not readable as a picture")
    assert not tab.locator("#go").is_visible()
    reopen(tab, here / "large.png")
    says(tab, "8.0 megapixels, this page takes 3 at most")


def test_what_a_stranger_does_not_know(tab, here):
    """Nothing ticked, an error after a good picture, a tiny picture, notes of a file, a run that is left."""
    put(tab, noisy(here, 96))
    tab.wait_for_selector("#tried img")
    tab.locator("#wrongs label:has-text('grainy') input").uncheck()
    says(tab, "nothing is ticked")
    tab.locator("#wrongs label:has-text('damaged') input").check()
    says(tab, "paint over")
    assert tab.locator("#tried img").count() == 0  # what was tried before is not shown for it
    tab.locator("#go").scroll_into_view_if_needed()
    assert tab.locator("#message").bounding_box()["y"] >= 0  # it stays in sight
    tab.locator(
        "#open button[aria-label='Clear'], #open button[aria-label='Remove this file']"
    ).first.click()
    tab.wait_for_timeout(2000)
    assert tab.locator("#message").inner_text().strip() == ""  # nothing is tried of what is gone
    put(tab, noisy(here, 64, "again.png"))
    says(tab, "tried on a part")
    Image.new("RGB", (3, 3)).save(here / "tiny.png")
    reopen(tab, here / "tiny.png")
    says(tab, "tiny.png: has 3 x 3 pixels, expected at least 8 x 8")
    frames = [Image.new("RGB", (64, 64), (k, 9, 9)) for k in (1, 200)]
    frames[0].save(here / "moves.gif", save_all=True, append_images=frames[1:])
    reopen(tab, here / "moves.gif")
    tab.wait_for_function(
        "document.querySelector('#seen').innerText.includes('it is animated, the first picture is taken')"
    )
    x = read_picture(PHOTO).pixels
    write_picture(here / "large.png", Picture(x.repeat(1, 3, 3)))
    reopen(tab, here / "large.png")
    tab.locator("#wrongs label:has-text('not sharp') input").check()
    says(tab, "tried on a part")
    tab.wait_for_timeout(2000)
    tab.click("#go")
    says(tab, "beginning")
    tab.wait_for_timeout(500)
    reopen(tab, noisy(here, 64, "next.png"))  # the run of the large one ends by itself
    tab.wait_for_function("document.querySelector('#seen').innerText.includes('next.png')")
    says(tab, "tried on a part", 30)
    assert tab.locator("#go").is_enabled() and not tab.locator("#stop").is_enabled()


def test_two_tabs_do_not_see_each_other(browser, address, here):
    contexts = [browser.new_context(), browser.new_context()]
    pages = [opened(context, address[0]) for context in contexts]
    for number, page in enumerate(pages):
        put(page, noisy(here, 96 + 32 * number, f"p{number}.png"))
    for page in pages:
        page.wait_for_selector("#tried img")
        page.click("#go")
    for number, page in enumerate(pages):
        says(page, "done")
        assert f"p{number}.png" in page.locator("#line textarea").input_value()
    for context in contexts:
        context.close()


def test_on_a_phone_and_by_keyboard(browser, address, here):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = opened(context, address[0])
    put(page, noisy(here, 96))
    page.wait_for_selector("#tried img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#wrongs label:has-text('too small') input")
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_selector("text=how many times larger")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, select')].filter(e => e.offsetParent && "
        "!(e.innerText || e.ariaLabel || e.title || e.closest('label') || (e.labels && e.labels.length)))"
        ".map(e => e.outerHTML.slice(0, 160))"
    )
    assert not unnamed
    context.close()


def test_who_may_ask(address):
    """The page answers to its own name alone, says what a browser may load, and has no other doors."""
    with urllib.request.urlopen(address[0]) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    request = urllib.request.Request(address[0], headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    with urllib.request.urlopen(f"{address[0]}gradio_api/info") as answer:
        assert b'"named_endpoints":{}' in answer.read().replace(b" ", b"")
    for path in ("file=/etc/passwd", "gradio_api/file=/etc/passwd", "docs"):
        with pytest.raises(urllib.error.HTTPError):
            io.BytesIO(urllib.request.urlopen(address[0] + path).read())
