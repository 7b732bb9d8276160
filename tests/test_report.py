"""Pages of `evaluate`, `compare` and `restore`: one file, whole without a network."""

import json
import os
import re

import pytest
import torch
from browser import started
from cli_cases import QUICK, fails, picture, scene

from ddrm_fast.cli import main
from ddrm_fast.evaluation.report import BUDGET, Card, Kept, Table, maps_of, write_report


def groups_of(path):
    found = re.search(
        r'<script type="application/json" id="groups">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return json.loads(found[1])


@pytest.fixture
def clean(here):
    os.mkdir("clean")
    picture("clean/a.png", scene(3, 32, 32))
    picture("clean/b.png", scene(3, 40, 32).flip(1))
    return here


def test_evaluate(clean, capsys):
    line = [
        "evaluate",
        "clean",
        "--cases",
        "noise-25,sr2",
        "--crop",
        "24",
        "--report",
        "out.html",
        *QUICK,
    ]
    assert main([*line, "--limit", "1"]) == 0
    assert main(line) == 0
    text = (clean / "out.html").read_text()
    assert "ddrm-fast evaluate clean --cases noise-25,sr2" in text
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", text)  # nothing from elsewhere
    of_noise, of_sr = groups_of(clean / "out.html")
    assert [card["name"] for card in of_noise] == ["a", "b"]
    assert {"input", "sample", "mean", "truth"} <= set(of_noise[0]["pictures"])
    assert of_sr[0]["left"] == "bicubic" and of_noise[0]["left"] == "input"
    assert (
        len(of_noise[0]["maps"]) == 2 and "% of the errors are within" in of_noise[0]["maps"][0][1]
    )
    # pictures that are gone are made again, others are not
    stale = Kept("out.html").file("sr2", "b", "truth")
    before = {
        p: p.stat().st_mtime_ns
        for p in (clean / "out-pictures").rglob("*.webp")
        if "sr2/b" not in str(p)
    }
    for path in stale.parent.iterdir():
        path.unlink()
    assert main(line) == 0
    assert stale.exists() and all(p.stat().st_mtime_ns == t for p, t in before.items())
    for wrong in ("out.json", "clean", "clean/a.png/x.html"):
        assert "--report" in fails(capsys, *line[:-1], "--report", wrong)


def test_compare(clean):
    line = ["compare", "clean", "--cases", "sr2", "--samplers", "estimate,ddrm", "--calls", "2"]
    line += ["--crop", "24", "--samples", "2", "--prior", "gaussian", "--quiet", "--out", "c"]
    line += ["--report", "c.html"]
    assert main(line) == 0
    text = (clean / "c.html").read_text()
    assert "PSNR against network calls" in text and "PSNR, dB" in text
    (cards,) = groups_of(clean / "c.html")
    assert {"input", "truth", "estimate", "ddrm"} <= set(cards[1]["pictures"])
    assert [card["name"] for card in cards] == ["a, ddrm", "a", "b, ddrm", "b"]
    assert len(cards[0]["maps"]) == 2 and not cards[1]["maps"]


def test_restore_a_folder(clean, capsys):
    (clean / "clean/sub").mkdir()
    picture("clean/sub/a.png", scene(3, 24, 24))
    (clean / "clean/bad.png").write_bytes(b"x")
    line = [
        "restore",
        "clean",
        "--task",
        "noise",
        "--sigma",
        "0.1",
        "--report",
        "r.html",
        "--prior",
        "gaussian",
        "--quiet",
    ]
    assert main(line) == 1
    (cards,) = groups_of(clean / "r.html")
    assert [card["name"] for card in cards] == ["a", "b", "sub/a"]
    assert set(cards[0]["pictures"]) == {"input", "estimate"}
    assert (clean / "restored/sub/a-estimate.png").exists()  # the tree of the folder
    assert (
        "3 of 4 inputs" in (clean / "r.html").read_text()
        and ">failed<" in (clean / "r.html").read_text()
    )
    capsys.readouterr()
    assert "does not go together" in fails(capsys, *line, "--memory", "1GiB")


def test_words_of_others_are_words(here):
    """A file's name is nothing that a browser would run."""
    evil = "</script><script>alert(1)</script>"
    kept = Kept("e.html")
    kept.put("g", evil, {"input": scene(3, 16, 16)})
    write_report(
        "e.html", evil, command=evil, tables=[Table(evil, [evil], [[evil]])], facts=[(evil, evil)],
        groups={evil: [Card(evil, kept.found("g", evil))]},
    )  # fmt: skip
    text = (here / "e.html").read_text()
    assert "<script>alert" not in text and groups_of(here / "e.html")[0][0]["name"] == evil


def test_fifty_pictures_fit(here):
    kept = Kept("big.html")
    x = torch.rand(3, 128, 128)  # noise is what compresses worst
    names = [f"p{number}" for number in range(50)]
    for name in names:
        kept.put("g", name, {what: x for what in ("input", "sample", "mean", "estimate", "truth")})
        kept.put("g", name, maps_of(x, x.flip(1)))
    cards = [Card(name, kept.found("g", name)) for name in names]
    write_report("big.html", "big", groups={f"case {k}": cards for k in range(3)})
    assert (here / "big.html").stat().st_size < 20e6
    assert (
        sum(len(u) for c in groups_of(here / "big.html")[0] for u in c["pictures"].values())
        < BUDGET
    )


def test_in_a_browser(here):
    kept = Kept("b.html")
    for name in ("a", "b"):
        kept.put("g", name, {"input": scene(3, 48, 64), "estimate": scene(3, 48, 64).flip(1)})
    cards = [
        Card(name, kept.found("g", name), {"estimate": "estimate 30 dB"}, "input", "estimate")
        for name in "ab"
    ]
    rows = [["x", 10.0], ["y", 9.0], ["z", None]]
    write_report(
        "b.html",
        "Two",
        tables=[Table("T", ["name", "dB"], rows)],
        groups={"one": cards, "two": cards},
    )
    with started() as chromium:
        page = chromium.new_page(viewport={"width": 500, "height": 800})
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
        page.goto((here / "b.html").as_uri())
        page.click("th button:has-text('dB')")
        assert page.locator("tbody td:first-child").all_inner_texts()[:3] == ["y", "x", "z"]
        page.click("th button:has-text('dB')")
        assert page.locator("tbody td:first-child").all_inner_texts()[:3] == ["x", "y", "z"]
        card = page.locator(".card").first
        card.locator("input[type=range]").focus()
        page.keyboard.press("Home")
        assert card.locator(".both").evaluate("e => e.style.getPropertyValue('--at')") == "0%"
        before = card.locator("img.top").get_attribute("src")
        card.locator("select").first.select_option("estimate")
        assert card.locator("img.top").get_attribute("src") != before
        assert page.locator(".card").count() == 2  # those of a closed group are made when it opens
        page.click("summary:has-text('two')")
        page.wait_for_function("document.querySelectorAll('.card').length === 4")
        assert page.evaluate("document.documentElement.scrollWidth") <= 500
        assert not wrong
