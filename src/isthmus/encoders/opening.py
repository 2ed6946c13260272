"""The images of one batch, opened and prepared: one after another, or several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from isthmus.encoders.images import UnreadableImage, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike = Image | str | os.PathLike[str]

PIECE = 4
"""Images a worker takes at a time: few enough for an even load, and several, so that handing out
thumbnails costs little compared with opening them."""

MOST_WORKERS = 8
"""Workers that an encoder starts by itself at most."""


def usable_cores() -> int:
    """The cores this process may run on, where the system says so."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def default_workers() -> int:
    """What an encoder of photographs starts with: a worker a core, at most :data:`MOST_WORKERS`."""
    return min(usable_cores(), MOST_WORKERS)


class Opener:
    """A batch of images and paths -> what ``prepare`` makes of each, in order.

    An image that cannot be read leaves its :class:`UnreadableImage` in its place; with ``stop``
    the first such ends the list. ``workers`` images are at work at a time; Pillow decodes and
    scales them side by side, while Python itself takes turns.
    """

    def __init__(self, prepare: Callable[[Image], Any], workers: int, *, stop: bool) -> None:
        self.prepare, self.stop = prepare, stop
        self.pool = (
            ThreadPoolExecutor(workers, thread_name_prefix="isthmus-open") if workers > 1 else None
        )

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def __call__(self, batch: list[ImageLike]) -> list[Any]:
        if self.pool is None:
            return self._piece(batch)
        prepared: list[Any] = []
        pieces = [batch[i : i + PIECE] for i in range(0, len(batch), PIECE)]
        for piece in self.pool.map(self._piece, pieces):
            prepared += piece
            if self.stop and isinstance(prepared[-1], UnreadableImage):
                break  # the pieces not yet begun are cancelled
        return prepared

    def _piece(self, items: list[ImageLike]) -> list[Any]:
        prepared: list[Any] = []
        for item in items:
            try:
                prepared.append(self.prepare(open_image(item)))
            except UnreadableImage as error:
                prepared.append(error)
                if self.stop:
                    break
        return prepared
