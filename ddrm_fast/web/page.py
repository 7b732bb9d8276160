"""What happens on the page; the work is in the other files of this room."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ..cli.errors import FAILURES, one_line
from ..io.files import in_words as in_bytes
from ..large.advice import memory_of
from ..large.duration import in_words
from ..problems import arrays
from ..problems.measured import Measured
from ..restoration import Restoration
from ..samplers.doubts import doubts
from .desk import Desk, cut, enlarged, part, shown
from .layout import OPEN, OPENED, PROGRAM, layout
from .outcome import add_samples, at, cropped, outcome
from .painting import layers_of, of_colour, painted, stroke_kernel
from .visitors import Visitors
from .work import TILE, Engine, Stopped, restored
from .wrongs import Said, Settings, Unsaid, said

#: bytes of memory from which on they are said
_MUCH = 2**30
#: what components become, by component
Update = dict[Any, Any]
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
#: what calls the network waits in one queue
_NETWORK = _PRIVATE | {"concurrency_id": "network", "concurrency_limit": 1}


class Page:
    """The page: its components as ``c``, and what each of them does.

    Args:
        engine:
            What restores.
        visitors:
            Who is there.
    """

    def __init__(self, engine: Engine, visitors: Visitors) -> None:
        self.engine, self.visitors = engine, visitors
        self.blocks, self.c = layout()
        c = self.c
        #: what is said of a degradation, in the order of :func:`_settings`
        self.values = [
            c.wrong, c.auto, c.noise, c.blur, c.shake, c.angle, c.factor, c.program, c.from_file, c.quality,
            c.corner, c.gain, c.bits,
        ]  # fmt: skip

    def build(self) -> gr.Blocks:
        """The page, ready to be launched."""
        c = self.c
        with self.blocks:
            opening = c.file.change(self.opened, c.file, self._opening(), **_PRIVATE)
            self._fields(opening.then)
            for component in (c.wrong, c.auto, c.from_file):
                self._fields(component.input)
            for slider in (c.noise, c.blur, c.shake, c.angle, c.quality, c.corner, c.gain, c.bits):
                self._try(slider.release)
            for choice in (c.factor, c.program, c.samples, c.editor, c.sketch):
                self._try(choice.input)
            loaded = c.mask_file.upload(self.load_mask, c.mask_file, c.news, **_PRIVATE)
            self._try(loaded.then)
            taken = c.take.click(self.take_colour, [c.colour, c.tolerance], c.news, **_PRIVATE)
            self._try(taken.then)
            forgotten = c.forget.click(self.unmark, None, [c.news, c.mask_file], **_PRIVATE)
            self._try(forgotten.then)
            self._try(c.elsewhere.click(self.next_place, None, None, **_PRIVATE).then)
            c.go.click(
                self.run, self._trying(),
                [
                    c.news, c.go, c.stop, c.more, c.result, c.download, c.words, c.gallery, c.unsure, c.line,
                    c.files,
                ], show_progress="hidden", **_NETWORK,
            )  # fmt: skip
            c.stop.click(self.stop, None, None, queue=False, show_progress="hidden", **_PRIVATE)
            continued = c.on.click(self.go_on, None, self._opening(), **_PRIVATE)
            self._fields(continued.then)
            self.blocks.unload(self.leave)
        return self.blocks

    def _opening(self) -> list[Any]:
        """What a new picture changes."""
        c = self.c
        return [
            c.file, c.rest, c.more, c.seen, c.news, c.wrong, c.auto, c.noise, c.blur, c.from_file, c.editor,
            c.sketch, c.mask_file, c.tried, c.cost,
        ]  # fmt: skip

    def _trying(self) -> list[Any]:
        """What a part, or the whole, is restored from."""
        return [self.c.editor, self.c.sketch, self.c.samples, *self.values]

    def _try(self, event: Any) -> None:
        event(
            self.try_it, self._trying(), [self.c.tried, self.c.cost, self.c.news],
            show_progress="minimal", show_progress_on=self.c.tried, trigger_mode="always_last", **_NETWORK,
        )  # fmt: skip

    def _fields(self, event: Any) -> None:
        c = self.c
        known = [c.wrong, c.auto, c.from_file]
        changed = [each for each in self.values if each is not c.wrong] + [c.sketch, c.damage]
        done = event(self.fields, known, changed, show_progress="hidden", queue=False, **_PRIVATE)
        self._try(done.then)

    # --- a picture is opened ---

    def opened(self, path: str | None, request: gr.Request) -> Update:
        """A file was sent, or taken back."""
        c, desk = self.c, self.visitors.desk(request)
        desk.stop.set()  # what runs is of another picture
        nothing = {
            c.rest: gr.update(visible=False), c.more: gr.update(visible=False), c.seen: "",
            c.file: gr.update(label=OPEN),
        }  # fmt: skip
        if path is None:
            desk.picture = None
            return nothing | {c.news: _news("")}
        try:
            self.visitors.open(desk, Path(path))
        except FAILURES as error:
            return nothing | {c.news: _bad(error)}
        return self._put(desk)

    def go_on(self, request: gr.Request) -> Update:
        """The result becomes the picture."""
        desk = self.visitors.desk(request)
        try:
            self.visitors.open(desk, desk.file("restored"))
        except FAILURES as error:
            return {self.c.news: _bad(error)}
        return self._put(desk)

    def _put(self, desk: Desk) -> Update:
        """A new picture into all components."""
        c = self.c
        proposed = [each.wrong for each in desk.findings if each.proposed]
        if "jpeg" in proposed:
            proposed = ["jpeg"]
        value = {each.wrong: each.value for each in desk.findings}
        picture = shown(desk.opened.pixels)
        is_jpeg = desk.opened.jpeg is not None
        return {
            c.rest: gr.update(visible=True), c.more: gr.update(visible=False), c.seen: _seen(desk),
            c.news: _news("Is that what is wrong? Say what is, then look at the part that is tried."),
            c.wrong: proposed, c.auto: True, c.noise: round(min(100, value.get("noise", 15)), 1),
            c.blur: round(min(8, max(0.3, value.get("blur", 1.5))), 1),
            c.from_file: gr.update(value=is_jpeg, interactive=is_jpeg),
            c.editor: {"background": picture, "layers": [], "composite": None}, c.sketch: None,
            c.mask_file: None, c.tried: None, c.cost: "", c.file: gr.update(label=OPENED),
        }  # fmt: skip

    # --- what is wrong with it is said ---

    def fields(self, wrong: list[str], auto_on: bool, file_says: bool) -> Update:
        """Shows what there is to say of these."""
        c = self.c
        there = {
            c.auto: "noise" in wrong, c.noise: "noise" in wrong and not auto_on, c.blur: "blur" in wrong,
            c.shake: "shake" in wrong, c.angle: "shake" in wrong, c.sketch: "shake" in wrong,
            c.factor: "small" in wrong, c.program: "small" in wrong and set(wrong) <= {"small", "noise"},
            c.from_file: "jpeg" in wrong, c.quality: "jpeg" in wrong and not file_says,
            c.corner: "corners" in wrong, c.gain: "light" in wrong, c.bits: "bands" in wrong,
            c.damage: "damage" in wrong,
        }  # fmt: skip
        return {component: gr.update(visible=on) for component, on in there.items()}

    def load_mask(self, path: str | None, request: gr.Request) -> str:
        """Damage from a file."""
        desk = self.visitors.desk(request)
        if path is None:
            return _news("")
        desk.uploads.append(Path(path))
        try:
            whole = arrays.mask(path, desk.opened.size)
        except FAILURES as error:
            return _bad(error)
        return _marked(desk, whole.reshape(-1, *whole.shape[-2:])[0] == 0)

    def take_colour(self, colour: str, tolerance: float, request: gr.Request) -> str:
        """Damage by its colour."""
        desk = self.visitors.desk(request)
        try:
            return _marked(desk, of_colour(desk.opened.pixels, colour, tolerance / 255))
        except ValueError as error:
            return _bad(error)

    def unmark(self, request: gr.Request) -> tuple[str, None]:
        """Forgets both."""
        self.visitors.desk(request).damage = None
        return _news("only what is painted counts as damaged"), None

    def _said(
        self, desk: Desk, editor: Any, sketch: Any, values: tuple[Any, ...]
    ) -> tuple[Said, Tensor]:
        """The degradation, and where there is damage."""
        wrong, settings = _settings(values)
        damaged = painted(layers_of(editor), desk.opened.size)
        if desk.damage is not None:
            damaged |= desk.damage
        whole = (~damaged).to(torch.uint8)
        drawn = layers_of(sketch)
        stroke = stroke_kernel(drawn[0], settings.shake) if drawn else None
        return said(wrong, settings, whole, stroke), damaged

    def _pixels(self, factor: int, desk: Desk) -> int:
        """Of the result.

        Raises:
            ValueError: They are too many.
        """
        pixels = desk.pixels * factor * factor
        most = self.visitors.pixels
        if pixels > most:
            raise ValueError(
                f"the result would have {pixels / 1e6:.0f} megapixels, this page makes "
                f"{most / 1e6:.0f} at most"
            )
        return pixels

    # --- a part is tried ---

    def next_place(self, request: gr.Request) -> None:
        """Another part from now on."""
        self.visitors.desk(request).place += 1

    def try_it(
        self, request: gr.Request, editor: Any, sketch: Any, samples: int, *values: Any
    ) -> Update | Any:
        """Restores a part; says what the whole will take."""
        desk = self.visitors.desk(request)
        if desk.picture is None:  # what was sent is none, as the page says by now
            return gr.skip()
        try:
            return self._tried(desk, editor, sketch, int(samples), values)
        except (*FAILURES, Stopped) as error:
            said = _news(str(error)) if isinstance(error, Unsaid) else _bad(error)
            return {self.c.news: said, self.c.cost: "", self.c.tried: None}

    def _tried(
        self, desk: Desk, editor: Any, sketch: Any, samples: int, values: tuple[Any, ...]
    ) -> Update:
        what, damaged = self._said(desk, editor, sketch, values)
        factor = int(what.options.get("factor", 1))
        pixels = self._pixels(factor, desk)
        rows, columns = part(desk, factor, damaged)
        of_part = _with_noise(_part_of(what, desk.opened.size, rows, columns), desk)
        part_of_it = cut(desk.opened, rows, columns)
        job = self.engine.measured(part_of_it, of_part)
        found = list(restored(self.engine, job, self.engine.asked, threading.Event()))[-1]
        assert isinstance(found, Restoration)
        after = cropped(found.mean, job)
        small = enlarged(part_of_it.pixels, (after.shape[1], after.shape[2]))
        return {
            self.c.tried: (shown(small), shown(after)), self.c.news: _news(_said_of(job, values[0])),
            self.c.cost: self._cost(desk, job, factor, pixels, samples),
        }  # fmt: skip

    def _cost(self, desk: Desk, job: Measured, factor: int, pixels: int, samples: int) -> str:
        """What the whole will take, judged by a part of it."""
        asked, _ = self.engine.asked_for(pixels, None)
        seconds = self.engine.expected(job.problem, asked, pixels)
        if samples:
            sampled, _ = self.engine.asked_for(pixels, samples)
            seconds += self.engine.expected(job.problem, sampled, pixels)
        height, width = (factor * n for n in desk.opened.size)
        text = (
            f"The whole picture becomes {width} x {height} and takes about **{in_words(seconds)}**"
        )
        shape = desk.opened.pixels.shape[0], height, width
        memory = memory_of(shape, asked.prior, samples or 1, asked.device)
        if memory is not None and memory > _MUCH and asked.large is None:
            text += f" and some {in_bytes(memory)} of memory"
        text += "." if asked.large is None else f", in tiles of {TILE}."
        return text + "".join(
            f" {doubt[0].upper()}{doubt[1:]}." for doubt in doubts(job.problem, asked.prior)
        )

    # --- the whole is restored ---

    def run(
        self, request: gr.Request, editor: Any, sketch: Any, samples: int, *values: Any
    ) -> Iterator[Update]:
        """Restores all of it, and says meanwhile how far it is."""
        c, desk = self.c, self.visitors.desk(request)
        desk.stop.clear()
        idle = {c.go: gr.update(interactive=True), c.stop: gr.update(interactive=False)}
        try:
            yield {
                c.go: gr.update(interactive=False), c.stop: gr.update(interactive=True),
                c.news: _news("beginning", 0.0), c.more: gr.update(visible=False),
            }  # fmt: skip
            for update in self._running(desk, editor, sketch, int(samples), values):
                # what is last says all, so that nothing comes after "done"
                yield update | idle if c.line in update else update
        except FAILURES as error:
            yield idle | {c.news: _bad(error)}
        except Stopped as error:
            yield idle | {c.news: _news(str(error))}
        finally:
            desk.stop.set()  # also where the visitor has left

    def _running(
        self, desk: Desk, editor: Any, sketch: Any, samples: int, values: tuple[Any, ...]
    ) -> Iterator[Update]:
        c = self.c
        what, _ = self._said(desk, editor, sketch, values)
        pixels = self._pixels(int(what.options.get("factor", 1)), desk)
        asked, options = self.engine.asked_for(pixels, None)
        sampling, sampled = self.engine.asked_for(pixels, samples) if samples else (None, [])
        job = self.engine.measured(desk.opened, what).continued()
        if desk.stop.is_set():
            raise Stopped("stopped")
        was, seen = None, None  # the picture at the size that is shown, the last estimate
        found = None
        for each in restored(self.engine, job, asked, desk.stop):
            if isinstance(each, Restoration):
                found = outcome(desk, what, job, each.mean, options, sampled)
                continue
            update: Update = {c.news: _news(f"restoring: {each}", each.share)}
            if each.estimate is not None and each.estimate is not seen:
                seen = each.estimate
                small = shown(cropped(seen[None], job))
                if was is None or was.shape != small.shape:
                    was = at(shown(job.like.pixels), small)
                update |= {c.more: gr.update(visible=True), c.result: (was, small)}
            yield update
        assert found is not None
        if sampling is not None:
            for each in restored(self.engine, job, sampling, desk.stop):
                if isinstance(each, Restoration):
                    add_samples(found, desk, job, each, self.engine.asked.prior)
                else:
                    yield {c.news: _news(f"drawing possible pictures: {each}", each.share)}
        unsure = None if found.unsure is None else (found.estimate, found.unsure)
        yield {
            c.more: gr.update(visible=True), c.result: (found.before, found.estimate),
            c.download: gr.update(value=str(found.picture), label=f"Download {found.picture.name}"),
            c.words: found.words, c.line: "\n".join(found.lines),
            c.gallery: gr.update(visible=bool(found.gallery), value=found.gallery),
            c.unsure: gr.update(visible=unsure is not None, value=unsure),
            c.files: gr.update(visible=bool(found.beside), value=found.beside),
            c.news: _news("done: look at it, then download it", 1.0),
        }  # fmt: skip

    def stop(self, request: gr.Request) -> None:
        """Ends what runs for this visitor."""
        self.visitors.desk(request).stop.set()

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.visitors.leave(request)


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


def _bad(error: BaseException) -> str:
    """What went wrong, without the path of a file on this machine."""
    words = [
        Path(word.rstrip(":")).name + ":" * word.endswith(":") if word.startswith("/") else word
        for word in one_line(error).split(" ")
    ]
    return _news(" ".join(words), bad=True)


def _seen(desk: Desk) -> str:
    """What was found in a picture, as a list."""
    picture = desk.opened
    height, width = picture.size
    kind = "colour" if picture.pixels.shape[0] == 3 else "grey"
    lines = [f"**{desk.name}**: {width} x {height}, {picture.bits} bits, {kind}"]
    lines += [f"- {finding.text}" for finding in desk.findings]
    lines += [f"- it {note}" for note in picture.notes]
    return "\n".join(lines)


def _marked(desk: Desk, where: Tensor) -> str:
    """Adds to the damage; says how much there is."""
    desk.damage = where if desk.damage is None else desk.damage | where
    share = 100 * float(desk.damage.float().mean())
    return _news(f"{share:.1f} % of the picture is marked as damaged, beside what is painted")


def _part_of(said: Said, size: tuple[int, int], rows: slice, columns: slice) -> Said:
    """What is said of a part of a picture."""
    options, planes = dict(said.options), dict(said.arrays)
    if said.task == "gain":
        planes["gain"] = arrays.gain(options.pop("gain"), size)[rows, columns]
    if "mask" in planes:
        planes["mask"] = planes["mask"][rows, columns]
    return Said(said.task, options, planes, said.sigma)


def _with_noise(of_part: Said, desk: Desk) -> Said:
    """The noise of the whole picture, where it is estimated: a part shows less of it."""
    if of_part.sigma is not None or of_part.task in ("jpeg", "saturate", "quantize"):
        return of_part
    level = next((each.value for each in desk.findings if each.wrong == "noise"), None)
    if level is None:
        return of_part
    return Said(of_part.task, of_part.options, of_part.arrays, f"{level / 255:.6f}")


def _said_of(job: Measured, wrong: list[str]) -> str:
    """What was tried, and how much noise is taken to be there."""
    if not wrong:
        return (
            f"tried on a part: nothing is ticked, so only grain of {255 * job.sigma_y:.1f} of 255 is taken "
            "out; say what is wrong"
        )
    if job.sigma_from == "none":
        return "tried on a part"
    doubt = "" if job.doubt is None or job.sigma_from == "given" else f" ({job.doubt})"
    return f"tried on a part, with grain of {255 * job.sigma_y:.1f} of 255{doubt}"
