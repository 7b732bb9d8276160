"""What the page looks like: its components, from top to bottom."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr

from .wrongs import WRONGS

OPEN = "1. Open a picture: drop it here, paste it, or click"
OPENED = "1. Your picture (× for another one)"
PROGRAM, CAMERA = "a program made it smaller", "a camera of few pixels took it"
CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; overflow: visible !important }
#message { min-height: 1.5em; position: sticky; top: 0; z-index: 20; padding: 4px 8px;
    background: var(--body-background-fill) }
#wrongs label { padding: 4px 8px }
#wrongs label span { display: flex; align-items: center; gap: 8px }
#wrongs label span::before { content: ""; width: 44px; height: 44px; border-radius: 6px; flex: none;
    background-size: cover }
button.dialog-button { border: 1px solid #808080 !important }
.news { font-size: 1.05em } .news progress { width: 100%; height: 14px }
.bad { color: #b3261e; font-weight: 600 }
@media (prefers-color-scheme: dark) { .bad { color: #ffb4ab } }
footer { display: none !important }
"""
#: of a picture that is shown; what is downloaded there would be a small copy
_BUTTONS = ["fullscreen"]
#: a picture that is pasted goes where one that is dropped goes
HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<script>
document.addEventListener("paste", (event) => {
  const files = event.clipboardData ? event.clipboardData.files : null;
  const input = document.querySelector("#open input[type=file]");
  if (!files || !files.length || !input) return;
  event.preventDefault();
  input.files = files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
</script>
"""


def layout() -> tuple[gr.Blocks, SimpleNamespace]:
    """The page without anything that happens on it, and its components by name."""
    with gr.Blocks(
        title="Restore a picture", analytics_enabled=False, delete_cache=(300, 7200)
    ) as blocks:
        gr.Markdown(
            "# Restore a picture\n"
            "Open one, say what is wrong with it, and restore it. It stays on this machine."
        )
        with gr.Row():
            with gr.Column(min_width=300):
                file = gr.File(
                    label=OPEN, elem_id="open", height=120,
                    file_types=["image", ".tif", ".tiff", ".heic", ".heif", ".jp2", ".psd"],
                )  # fmt: skip
            with gr.Column(min_width=300):
                seen = gr.Markdown("", elem_id="seen")
        news = gr.HTML("", elem_id="message")
        with gr.Column(visible=False) as rest:
            wrong = gr.CheckboxGroup(
                [(text, name) for name, text in WRONGS.items()],
                label="2. What is wrong with it?",
                elem_id="wrongs",
            )
            with gr.Group():
                auto = gr.Checkbox(True, label="find out how much grain there is", visible=False)
                noise = gr.Slider(0, 100, 15, step=0.5, label="grain, of 255", visible=False)
                blur = gr.Slider(
                    0.3, 8, 1.5, step=0.1, label="how far it is not sharp, pixels", visible=False
                )
                shake = gr.Slider(
                    3, 80, 15, step=1, label="length of the shake, pixels", visible=False
                )
                angle = gr.Slider(
                    0,
                    179,
                    0,
                    step=1,
                    label="its direction, degrees counter-clockwise from the horizontal",
                    visible=False,
                )
                factor = gr.Radio([2, 3, 4], value=2, label="how many times larger", visible=False)
                program = gr.Radio(
                    [PROGRAM, CAMERA], value=PROGRAM, label="why it is small", visible=False
                )
                from_file = gr.Checkbox(
                    True, label="the file says how it was compressed", visible=False
                )
                quality = gr.Slider(
                    1, 95, 30, step=1, label="JPEG quality that it once had", visible=False
                )
                corner = gr.Slider(
                    0.05, 0.95, 0.4, step=0.05, label="brightness of the corners", visible=False
                )
                gain = gr.Slider(
                    1.1, 4, 2, step=0.1, label="how many times too much light", visible=False
                )
                bits = gr.Slider(2, 6, 3, step=1, label="bits of each colour", visible=False)
            sketch = gr.ImageEditor(
                label="or draw the shake: the path of a point of light (optional)", sources=(),
                canvas_size=(256, 256),
                fixed_canvas=True, type="numpy", transforms=(), visible=False, elem_id="sketch", height=330,
                brush=gr.Brush(default_size=6, colors=["#d01010"], color_mode="fixed"),
                layers=gr.LayerOptions(allow_additional_layers=False),
            )  # fmt: skip
            with gr.Column(visible=False) as damage:
                editor = gr.ImageEditor(
                    label="paint over the damage", sources=(), type="numpy", transforms=(), elem_id="paint",
                    height=560,
                    brush=gr.Brush(default_size=8, colors=["#ff2bd6"], color_mode="fixed"),
                    layers=gr.LayerOptions(allow_additional_layers=False),
                )  # fmt: skip
                with gr.Accordion("without a brush: a mask, or all of one colour", open=False):
                    mask_file = gr.File(
                        elem_id="mask",
                        label="a mask of the picture's size, black where it is damaged",
                        height=150,
                    )
                    with gr.Row():
                        colour = gr.ColorPicker("#ffffff", label="colour of the damage")
                        tolerance = gr.Slider(0, 80, 12, step=1, label="how far from it, of 255")
                        take = gr.Button("mark all of this colour", elem_id="take")
                        forget = gr.Button("take back mask and colour")
            with gr.Row():
                elsewhere = gr.Button("try another place")
                samples = gr.Slider(
                    0,
                    8,
                    0,
                    step=1,
                    label="possible pictures to draw beside the best estimate",
                    info="each fits what is there; where they differ, nobody can know what was there",
                )
            tried = gr.ImageSlider(
                label="tried on a part: before | after",
                type="numpy",
                elem_id="tried",
                interactive=False,
                buttons=_BUTTONS,
                max_height=420,
            )
            cost = gr.Markdown("", elem_id="cost")
            with gr.Row():
                go = gr.Button("3. Restore the whole picture", variant="primary", elem_id="go")
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
        with gr.Column(visible=False) as more:
            gr.Markdown("## Restored")
            result = gr.ImageSlider(
                label="before | after",
                type="numpy",
                elem_id="result",
                interactive=False,
                buttons=_BUTTONS,
            )
            with gr.Row():
                download = gr.DownloadButton("Download", variant="primary", elem_id="download")
                on = gr.Button("go on with the result", elem_id="on")
            words = gr.Markdown("", elem_id="words")
            gallery = gr.Gallery(
                label="possible pictures: what differs between them is not certain",
                visible=False,
                columns=4,
                buttons=_BUTTONS,
            )
            unsure = gr.ImageSlider(
                label="best estimate | where it is uncertain",
                type="numpy",
                visible=False,
                interactive=False,
                buttons=_BUTTONS,
            )
            line = gr.Textbox(
                label="the same by command",
                interactive=False,
                lines=1,
                buttons=["copy"],
                elem_id="line",
            )
            files = gr.File(
                label="what the command needs, and the possible pictures",
                file_count="multiple",
                visible=False,
                interactive=False,
            )
    names = (
        "file", "seen", "news", "rest", "wrong", "auto", "noise", "blur", "shake", "angle", "factor",
        "program", "from_file", "quality", "corner", "gain", "bits", "sketch", "damage",
        "editor", "mask_file", "colour", "tolerance", "take", "forget", "elsewhere", "samples",
        "tried", "cost", "go", "stop", "more", "result", "download", "on", "words", "gallery",
        "unsure", "line", "files",
    )  # fmt: skip
    here = locals()
    return blocks, SimpleNamespace(**{name: here[name] for name in names})
