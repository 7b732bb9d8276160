"""Who is on the page: a desk for each tab, with bounds on what all of them hold."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from .desk import Desk

#: how many of the largest pictures all tabs together may hold in memory
ROOM = 4


@dataclass
class Visitors:
    """The desks of all open tabs.

    Args:
        folder:
            For their files.
        pixels:
            That a picture may have.
    """

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

    def open(self, desk: Desk, path: Path) -> None:
        """Puts a picture on a desk.

        Raises:
            ValueError, ImportError: It is none, is damaged or too large, or the others' leave no room for it.
        """
        desk.picture = None
        with self.lock:
            held = sum(each.pixels for each in self.desks.values())
        if held + self.pixels > ROOM * self.pixels:
            desk.uploads.append(path)
            raise ValueError(
                "this page holds as many pictures of other people as it can: try again in a while"
            )
        desk.open(path, self.pixels)

    def leave(self, request: gr.Request) -> None:
        """A tab was closed: its run ends, its files go."""
        with self.lock:
            desk = self.desks.pop(request.session_hash or "", None)
        if desk is not None:
            desk.clear()

    def clear(self) -> None:
        """All leave."""
        for desk in list(self.desks.values()):
            desk.clear()
