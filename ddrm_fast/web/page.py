"""What happens on the page; the work is in the other files of this room."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from ..cli.errors import FAILURES, one_line
from ..evaluation import metrics
from ..evaluation.error_bars import error_bars
from ..io import heat, write_picture
from ..io.encode import FORMATS
from ..io.files import in_words as in_bytes
from ..large.advice import memory_of
from ..large.duration import in_words
from ..problems import arrays
from ..problems.measured import Measured
from ..restoration import Restoration
from ..samplers.doubts import doubts
from .desk import Desk, cut, enlarged, part, save_mask, shown
from .layout import PROGRAM, layout
from .painting import layers_of, of_colour, painted, stroke_kernel
from .work import TILE, Engine, Stopped, restored
from .wrongs import Said, Settings, said

log = logging.getLogger(__name__)

_NETWORK = "network"  # what calls it waits in one queue


@dataclass
class Page:
    """The page and its visitors.

    Args:
        engine:
            What restores.
        folder:
            For the files of all visitors.
        pixels:
            That a picture may have, before and after.
    """

    engine: Engine
    folder: Path
    pixels: int
    desks: dict[str, Desk] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def desk(self, request: gr.Request) -> Desk:
        """That of who asks."""
        key = request.session_hash or ""
        with self.lock:
            if key not in self.desks:
                self.desks[key] = Desk.new(self.folder)
            return self.desks[key]

    def leave(self, request: gr.Request) -> None:
        """A tab was closed: its run ends, its files go."""
        with self.lock:
            desk = self.desks.pop(request.session_hash or "", None)
        if desk is not None:
            desk.clear()

    # --- what is said on the page ---

    def said(
        self, desk: Desk, editor: Any, sketch: Any, values: tuple[Any, ...]
    ) -> tuple[Said, Tensor]:
        """The degradation, and where there is damage."""
        wrong, settings = _settings(values)
        size = desk.opened.size
        damaged = painted(layers_of(editor), size)
        if desk.damage is not None:
            damaged |= desk.damage
        whole = (~damaged).to(torch.uint8)
        drawn = layers_of(sketch)
        stroke = stroke_kernel(drawn[0], settings.shake) if drawn else None
        return said(wrong, settings, whole, stroke), damaged

    def checked_size(self, factor: int, desk: Desk) -> int:
        """Pixels of the result.

        Raises:
            ValueError: They are too many.
        """
        height, width = desk.opened.size
        pixels = height * width * factor * factor
        if pixels > self.pixels:
            raise ValueError(
                f"the result would have {pixels / 1e6:.0f} megapixels, this page makes "
                f"{self.pixels / 1e6:.0f} at most"
            )
        return pixels


def _settings(values: tuple[Any, ...]) -> tuple[list[str], Settings]:
    """From what the components hold."""
    (
        wrong, by_itself, noise, blur, shake, angle, factor, program, from_file, quality, corner, gain, bits,
    ) = values  # fmt: skip
    return wrong, Settings(
        None if by_itself or "noise" not in wrong else float(noise), float(blur), int(shake), int(angle),
        int(factor), program == PROGRAM, None if from_file else int(quality), float(corner), float(gain),
        int(bits),
    )  # fmt: skip


def _news(text: str, share: float | None = None, bad: bool = False) -> str:
    """A line of what is going on, which screen readers say."""
    role = "alert" if bad else "status"
    bar = (
        ""
        if share is None
        else f'<progress max="1" value="{share:.3f}" aria-label="done"></progress>'
    )
    kind = "bad" if bad else ""
    return f'<div class="news {kind}" role="{role}">{html.escape(text)}{bar}</div>'


def _seen(desk: Desk) -> str:
    """What was found in a picture, as a list."""
    picture = desk.opened
    height, width = picture.size
    kind = "colour" if picture.pixels.shape[0] == 3 else "grey"
    lines = [f"**{desk.name}**: {width} x {height}, {picture.bits} bits, {kind}"]
    lines += [f"- {finding.text}" for finding in desk.findings]
    return "\n".join(lines)


def _part_of(said: Said, size: tuple[int, int], rows: slice, columns: slice) -> Said:
    """What is said of a part of a picture."""
    options, planes = dict(said.options), dict(said.arrays)
    if said.task == "gain":
        planes["gain"] = arrays.gain(options.pop("gain"), size)[rows, columns]
    if "mask" in planes:
        planes["mask"] = planes["mask"][rows, columns]
    return Said(said.task, options, planes, said.sigma)


def build(page: Page) -> gr.Blocks:
    """The page, ready to be launched."""
    blocks, c = layout()
    file, seen, news, rest, wrong, auto = c.file, c.seen, c.news, c.rest, c.wrong, c.auto
    noise, blur, shake, angle, factor, program = (
        c.noise,
        c.blur,
        c.shake,
        c.angle,
        c.factor,
        c.program,
    )
    from_file, quality, corner, gain, bits, sketch = (
        c.from_file,
        c.quality,
        c.corner,
        c.gain,
        c.bits,
        c.sketch,
    )
    damage, editor, mask_file, colour, tolerance, take = (
        c.damage,
        c.editor,
        c.mask_file,
        c.colour,
        c.tolerance,
        c.take,
    )
    forget, elsewhere, samples, tried, cost, go = (
        c.forget,
        c.elsewhere,
        c.samples,
        c.tried,
        c.cost,
        c.go,
    )
    stop, more, result, download, on, words = c.stop, c.more, c.result, c.download, c.on, c.words
    gallery, unsure, line, files = c.gallery, c.unsure, c.line, c.files
    with blocks:
        values = [
            wrong,
            auto,
            noise,
            blur,
            shake,
            angle,
            factor,
            program,
            from_file,
            quality,
            corner,
            gain,
            bits,
        ]
        strokes = [editor, sketch]

        def opened(path: str | None, request: gr.Request) -> Iterator[Any]:
            desk = page.desk(request)
            desk.stop.set()  # what runs is of another picture
            if path is None:
                yield {
                    rest: gr.update(visible=False),
                    more: gr.update(visible=False),
                    seen: "",
                    news: _news(""),
                }
                return
            try:
                desk.open(Path(path), page.pixels)
            except (*FAILURES, ValueError) as error:
                yield {
                    news: _news(_short(one_line(error)), bad=True), rest: gr.update(visible=False),
                    more: gr.update(visible=False), seen: "",
                }  # fmt: skip
                return
            yield put(desk)

        def put(desk: Desk) -> dict[Any, Any]:
            """A new picture into all components."""
            proposed = [each.wrong for each in desk.findings if each.proposed]
            if "jpeg" in proposed:
                proposed = ["jpeg"]
            value = {each.wrong: each.value for each in desk.findings}
            picture = shown(desk.opened.pixels)
            is_jpeg = desk.opened.jpeg is not None
            return {
                rest: gr.update(visible=True), more: gr.update(visible=False), seen: _seen(desk),
                news: _news("Is that what is wrong? Say what is, then look at the part that is tried."),
                wrong: proposed, auto: True, noise: round(min(100, value.get("noise", 15)), 1),
                blur: round(min(8, max(0.3, value.get("blur", 1.5))), 1),
                from_file: gr.update(value=is_jpeg, interactive=is_jpeg),
                editor: {"background": picture, "layers": [], "composite": None}, sketch: None,
                mask_file: None,
            }  # fmt: skip

        def fields(wrong: list[str], auto_on: bool, file_says: bool) -> dict[Any, Any]:
            there = {
                auto: "noise" in wrong, noise: "noise" in wrong and not auto_on, blur: "blur" in wrong,
                shake: "shake" in wrong, angle: "shake" in wrong, sketch: "shake" in wrong,
                factor: "small" in wrong, program: wrong == ["small"] or set(wrong) == {"small", "noise"},
                from_file: "jpeg" in wrong, quality: "jpeg" in wrong and not file_says,
                corner: "corners" in wrong, gain: "light" in wrong, bits: "bands" in wrong,
                damage: "damage" in wrong,
            }  # fmt: skip
            return {component: gr.update(visible=on) for component, on in there.items()}

        def load_mask(path: str | None, request: gr.Request) -> str:
            desk = page.desk(request)
            if path is None:
                return _news("")
            desk.uploads.append(Path(path))
            try:
                whole = arrays.mask(path, desk.opened.size)
            except (*FAILURES, ValueError) as error:
                return _news(_short(one_line(error)), bad=True)
            return marked(desk, whole.reshape(-1, *whole.shape[-2:])[0] == 0)

        def take_colour(colour: str, tolerance: float, request: gr.Request) -> str:
            desk = page.desk(request)
            try:
                return marked(desk, of_colour(desk.opened.pixels, colour, tolerance / 255))
            except ValueError as error:
                return _news(str(error), bad=True)

        def marked(desk: Desk, where: Tensor) -> str:
            desk.damage = where if desk.damage is None else desk.damage | where
            share = 100 * float(desk.damage.float().mean())
            return _news(
                f"{share:.1f} % of the picture is marked as damaged, beside what is painted"
            )

        def unmark(request: gr.Request) -> tuple[str, None]:
            page.desk(request).damage = None
            return _news("only what is painted counts as damaged"), None

        def try_it(
            request: gr.Request, editor: Any, sketch: Any, samples: int, *rest_of: Any
        ) -> dict[Any, Any]:
            desk = page.desk(request)
            try:
                return tried_on(desk, editor, sketch, int(samples), rest_of)
            except (*FAILURES, ValueError, Stopped) as error:
                return {
                    news: _news(_short(one_line(error)), bad=True),
                    cost: "",
                }

        def tried_on(
            desk: Desk, editor: Any, sketch: Any, samples: int, rest_of: tuple[Any, ...]
        ) -> dict[Any, Any]:
            what, damaged = page.said(desk, editor, sketch, rest_of)
            factor = int(what.options.get("factor", 1))
            pixels = page.checked_size(factor, desk)
            asked, _ = page.engine.asked_for(pixels, None)
            picture = desk.opened
            rows, columns = part(desk, factor, damaged)
            small = cut(picture, rows, columns)
            of_part = _part_of(what, picture.size, rows, columns)
            job = page.engine.measured(small, _with_noise(of_part, desk, what))
            problem = job.problem
            seconds = page.engine.expected(problem, asked, pixels)
            if samples:
                more_asked, _ = page.engine.asked_for(pixels, samples)
                seconds += page.engine.expected(problem, more_asked, pixels)
            found = [
                each for each in restored(page.engine, job, page.engine.asked, threading.Event())
            ][-1]
            assert isinstance(found, Restoration)
            after = _cropped(found.mean, job)
            size = picture.size[1] * factor, picture.size[0] * factor
            said = f"The whole picture becomes {size[0]} x {size[1]} and takes about **{in_words(seconds)}**"
            memory = memory_of(
                (picture.pixels.shape[0], size[1], size[0]), asked.prior, samples or 1, asked.device
            )
            if memory is not None and asked.large is None:
                said += f" and some {in_bytes(memory)} of memory"
            said += "." if asked.large is None else f", in tiles of {TILE}."
            said += "".join(
                f" {doubt[0].upper()}{doubt[1:]}." for doubt in doubts(problem, asked.prior)
            )
            return {
                tried: (shown(enlarged(_before(job), (after.shape[1], after.shape[2]))), shown(after)),
                cost: said, news: _news(_said_of(job)),
            }  # fmt: skip

        def run(
            request: gr.Request, editor: Any, sketch: Any, samples: int, *rest_of: Any
        ) -> Iterator[dict[Any, Any]]:
            desk = page.desk(request)
            desk.stop.clear()
            busy = {go: gr.update(interactive=False), stop: gr.update(interactive=True)}
            idle = {go: gr.update(interactive=True), stop: gr.update(interactive=False)}
            try:
                yield busy | {news: _news("beginning", 0.0), more: gr.update(visible=False)}
                yield from run_through(desk, editor, sketch, int(samples), rest_of)
                yield idle
            except (*FAILURES, ValueError) as error:
                yield idle | {news: _news(_short(one_line(error)), bad=True)}
            except Stopped as error:
                yield idle | {news: _news(str(error))}
            finally:
                desk.stop.set()  # also where the visitor has left

        def run_through(
            desk: Desk, editor: Any, sketch: Any, samples: int, rest_of: tuple[Any, ...]
        ) -> Iterator[dict[Any, Any]]:
            what, _ = page.said(desk, editor, sketch, rest_of)
            pixels = page.checked_size(int(what.options.get("factor", 1)), desk)
            asked, options = page.engine.asked_for(pixels, None)
            job = page.engine.measured(desk.opened, what).continued()
            before: np.ndarray | None = None
            seen_last: Tensor | None = None
            found: dict[bool, Restoration] = {}
            for drawn in (False, True) if samples else (False,):
                title = "drawing possible pictures" if drawn else "restoring"
                if drawn:
                    asked, options_drawn = page.engine.asked_for(pixels, samples)
                for each in restored(page.engine, job, asked, desk.stop):
                    if isinstance(each, Restoration):
                        found[drawn] = each
                        continue
                    update: dict[Any, Any] = {news: _news(f"{title}: {each}", each.share)}
                    if each.estimate is not None and each.estimate is not seen_last and not drawn:
                        seen_last = each.estimate
                        small = shown(_cropped(each.estimate[None], job))
                        if before is None or before.shape != small.shape:
                            before = _at(shown(_before(job)), small)
                        update |= {more: gr.update(visible=True), result: (before, small)}
                    yield update
            yield finished(desk, what, job, found[False].mean, found.get(True), options)

        def finished(
            desk: Desk,
            what: Said,
            job: Measured,
            mean: Tensor,
            drawn: Restoration | None,
            options: list[str],
        ) -> dict[Any, Any]:
            after = _cropped(mean, job)
            suffix = Path(desk.name).suffix.lower()
            suffix = suffix if suffix in FORMATS else ".png"
            name = f"{Path(desk.name).stem}-restored{suffix}"
            write_picture(desk.folder / name, job.like.with_pixels(after))
            beside = []
            for array, values in what.arrays.items():
                path = desk.folder / what.file_of(array, desk.name)
                if array == "mask":
                    save_mask(path, values)
                else:
                    np.save(path, values.numpy())
                beside.append(str(path))
            lines = [what.line(desk.name, name, options)]
            small = shown(after)
            update: dict[Any, Any] = {
                gallery: gr.update(visible=False), unsure: gr.update(visible=False),
            }  # fmt: skip
            text = _residual(job, mean)
            if drawn is not None and drawn.samples is not None:
                count = len(drawn.samples)
                pictures = [_cropped(x, job) for x in drawn.samples]
                for number, x in enumerate(pictures, 1):
                    path = desk.folder / f"{Path(desk.name).stem}-sample-{number}{suffix}"
                    write_picture(path, job.like.with_pixels(x))
                    beside.append(str(path))
                several = [(shown(x), f"{number}") for number, x in enumerate(pictures, 1)]
                if count > 1:  # the one with the smallest error of all, a little soft
                    x = _cropped(drawn.mean, job)
                    path = desk.folder / f"{Path(desk.name).stem}-mean{suffix}"
                    write_picture(path, job.like.with_pixels(x))
                    beside.append(str(path))
                    several.insert(0, (shown(x), "their mean: the smallest error, a little soft"))
                update[gallery] = gr.update(visible=True, value=several)
                lines.append(
                    what.line(
                        desk.name,
                        f"{Path(desk.name).stem}-samples",
                        [*options, "--samples", str(count)],
                    )
                )
                if count > 1:
                    bars = error_bars(drawn, job.problem, page.engine.asked.prior)
                    wide = _cropped(bars.half_68, job).square().mean(0).sqrt()
                    bright = max(float(np.quantile(wide.numpy(), 0.999)), 1 / 255)
                    update[unsure] = gr.update(
                        visible=True, value=(small, shown(heat(wide, bright)))
                    )
                    text += f" The brightest places of the map are uncertain by {255 * bright:.0f} of 255."
            return update | {
                more: gr.update(visible=True), result: (_at(shown(_before(job)), small), small),
                download: gr.update(value=str(desk.folder / name), label=f"Download {name}"),
                words: text, line: "\n".join(lines), news: _news("done: look at it, then download it", 1.0),
                files: gr.update(value=beside, visible=bool(beside)),
            }  # fmt: skip

        def go_on(request: gr.Request) -> dict[Any, Any]:
            desk = page.desk(request)
            suffix = Path(desk.name).suffix.lower()
            path = (
                desk.folder
                / f"{Path(desk.name).stem}-restored{suffix if suffix in FORMATS else '.png'}"
            )
            try:
                desk.open(path, page.pixels)
            except (*FAILURES, ValueError) as error:
                return {news: _news(_short(one_line(error)), bad=True)}
            return put(desk)

        private: dict[str, Any] = {"api_visibility": "private"}
        network = private | {"concurrency_id": _NETWORK, "concurrency_limit": 1}
        fields_out = [
            auto,
            noise,
            blur,
            shake,
            angle,
            sketch,
            factor,
            program,
            from_file,
            quality,
            corner,
            gain,
            bits,
            damage,
        ]
        put_out = [
            rest,
            more,
            seen,
            news,
            *[c for c in values if c in (wrong, auto, noise, blur, from_file)],
            editor,
            sketch,
            mask_file,
        ]
        try_in, try_out = [*strokes, samples, *values], [tried, cost, news]

        def preview(event: Any, **keywords: Any) -> Any:
            return event(
                try_it, try_in, try_out, show_progress="minimal", show_progress_on=tried,
                trigger_mode="always_last",
                **(network | keywords),
            )  # fmt: skip

        def shown_fields(event: Any) -> Any:
            return event(
                fields,
                [wrong, auto, from_file],
                fields_out,
                show_progress="hidden",
                queue=False,
                **private,
            )

        preview(shown_fields(file.change(opened, file, put_out, **private).then).then)
        for component in (wrong, auto, from_file):
            preview(shown_fields(component.input).then)
        for slider in (noise, blur, shake, angle, quality, corner, gain, bits):
            preview(slider.release)
        for choice in (factor, program, samples):
            preview(choice.input)
        for surface in (editor, sketch):
            preview(surface.input)
        preview(mask_file.upload(load_mask, mask_file, news, **private).then)
        preview(take.click(take_colour, [colour, tolerance], news, **private).then)
        preview(forget.click(unmark, None, [news, mask_file], **private).then)

        def next_place(request: gr.Request) -> None:
            page.desk(request).place += 1

        preview(elsewhere.click(next_place, None, None, **private).then)
        run_out = [news, go, stop, more, result, download, words, gallery, unsure, line, files]
        go.click(run, try_in, run_out, show_progress="hidden", **network)
        stop.click(_stopper(page), None, None, queue=False, show_progress="hidden", **private)
        preview(shown_fields(on.click(go_on, None, put_out, **private).then).then)
        blocks.unload(_leaver(page))
    return blocks


def _stopper(page: Page) -> Any:
    def stop(request: gr.Request) -> None:
        page.desk(request).stop.set()

    return stop


def _leaver(page: Page) -> Any:
    def leave(request: gr.Request) -> None:
        page.leave(request)

    return leave


def _with_noise(of_part: Said, desk: Desk, what: Said) -> Said:
    """The noise of the whole picture, where it is estimated: a part shows less of it."""
    if of_part.sigma is not None or of_part.task in ("jpeg", "saturate", "quantize"):
        return of_part
    level = next((each.value for each in desk.findings if each.wrong == "noise"), None)
    if level is None or "mask" in what.arrays:
        return of_part
    return Said(of_part.task, of_part.options, of_part.arrays, f"{level / 255:.6f}")


def _before(job: Measured) -> Tensor:
    """The measurement to look at."""
    return (
        job.preview.expand(job.image_shape[0], -1, -1) if job.preview.shape[0] == 1 else job.preview
    )


def _cropped(x: Tensor, job: Measured) -> Tensor:
    """The picture itself, (C, H, W)."""
    return x[0, :, : job.crop[0], : job.crop[1]]


def _at(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The picture before at the size of the one after."""
    x = torch.from_numpy(before).permute(2, 0, 1).float() / 255
    return shown(enlarged(x, (after.shape[0], after.shape[1])))


def _said_of(job: Measured) -> str:
    """How much noise is taken to be there."""
    if job.sigma_from == "none":
        return "tried on a part"
    doubt = "" if job.doubt is None or job.sigma_from == "given" else f" ({job.doubt})"
    return f"tried on a part, with grain of {255 * job.sigma_y:.1f} of 255{doubt}"


def _residual(job: Measured, mean: Tensor) -> str:
    """Whether the result says the same as what was measured."""
    residual = 255 * metrics.residual(job.y, mean, job.operator)
    said = f"Degraded again, it differs from the picture that you opened by {residual:.2f} of 255 on average"
    if job.sigma_from == "none":
        return f"{said}."
    return f"{said}; the grain that was taken to be in it is {255 * job.sigma_y:.2f}."


def _short(text: str) -> str:
    """A message without the path of a file on this machine."""
    words = [
        Path(word.rstrip(":")).name + ":" * word.endswith(":") if word.startswith("/") else word
        for word in text.split(" ")
    ]
    return " ".join(words)
