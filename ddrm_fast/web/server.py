"""The server behind the page: where it listens, what it lets in, and nothing from elsewhere."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..cli import build_parser, specs
from ..cli.asked import use_machine
from ..io.files import in_words
from ..large.memory import bytes_of

#: what a browser may load, all of it from here
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; "
    "form-action 'self'"
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Headers:
    """Adds to every answer what a browser may do with it (an ASGI middleware)."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""

        async def add(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, add if scope["type"] == "http" else send)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; returns the exit status."""
    port = specs.whole("--port", arguments.port, 0, 65535)
    most = specs.whole("--megapixels", arguments.megapixels) * 10**6
    minutes = specs.number("--minutes", arguments.minutes, 0.01, 10**6)
    memory = _size("--memory", arguments.memory)
    upload = _size("--upload", arguments.upload)
    people = _people(arguments.login)
    host = arguments.listen or _LOOPBACK[0]
    with tempfile.TemporaryDirectory(prefix="ddrm-fast-page-") as folder:
        # read when gradio is imported: no word to anybody, uploads in a folder that goes
        os.environ.update(
            GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder, HF_HUB_OFFLINE="1",
            DISABLE_TELEMETRY="1",
        )  # fmt: skip
        try:
            import gradio as gr
        except ImportError:
            raise ImportError(
                "the page needs Gradio: pip install 'ddrm-fast[web]'", name="gradio"
            ) from None
        # gradio asks itself whether it is there, which is no news
        logging.getLogger("httpx").setLevel(logging.WARNING)
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from . import icons
        from .layout import CSS, HEAD
        from .page import Page
        from .visitors import Visitors
        from .work import Engine

        with use_machine(arguments):
            threads = None if arguments.threads is None else int(arguments.threads)
            words = _words(arguments)
            line = build_parser().parse_args(["restore", "picture.png", "--quiet", *words])
            engine = Engine.of(
                line, memory=memory, seconds=60 * minutes, threads=threads, words=words
            )
            visitors = Visitors(Path(folder), most)
            blocks = Page(engine, visitors).build()
            middleware = [Middleware(Headers)]
            if host in _LOOPBACK:
                middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(_LOOPBACK)))
            blocks.queue(api_open=False, max_size=64)
            fonts = ["system-ui", "sans-serif"]
            _, address, _ = blocks.launch(
                server_name=host, server_port=port or None, auth=people, share=False, quiet=True,
                inbrowser=arguments.open, prevent_thread_lock=True, max_file_size=upload,
                app_kwargs={"middleware": middleware, "docs_url": None, "redoc_url": None},
                footer_links=[], ssr_mode=False, enable_monitoring=False, css=CSS + icons.style("wrongs"),
                head=HEAD, allowed_paths=[], show_error=False,
                theme=gr.themes.Soft(font=fonts, font_mono=["ui-monospace", "monospace"]),
            )  # fmt: skip
            print(f"the page: {address}", flush=True)
            if host not in _LOOPBACK:
                who = (
                    "who has a name and password" if people else "anybody who reaches this machine"
                )
                print(f"it listens on {host}: {who} may use it", file=sys.stderr, flush=True)
            print(
                f"up to {most / 1e6:.0f} megapixels, {in_words(memory)} of memory and {minutes:g} minutes "
                "a run; Ctrl-C ends it",
                flush=True,
            )
            try:
                blocks.block_thread()
            finally:
                visitors.clear()
                blocks.close(verbose=False)
    return 0


def _size(option: str, text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _people(path: str | None) -> list[tuple[str, str]] | None:
    """Names and passwords, a line each with a colon between them."""
    if path is None:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--login: {path} cannot be read ({error})") from None
    found = []
    for line in filter(None, map(str.strip, lines)):
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise ValueError(f"--login: {path} has a line that is not NAME:PASSWORD")
        found.append((name, password))
    if not found:
        raise ValueError(f"--login: {path} names nobody, expected lines of NAME:PASSWORD")
    return found


def _words(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The options that the command line of a picture has to repeat."""
    words: list[str] = []
    for name in ("prior", "prior_config", "device", "precision", "backend"):
        value = getattr(arguments, name)
        if value is not None and (name, value) != ("prior", "default"):
            words += [f"--{name.replace('_', '-')}", value]
    return tuple(words)
