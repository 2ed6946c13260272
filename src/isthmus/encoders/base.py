"""What every encoder does: images, texts or sounds in, rows out, in order, in bounded memory.

A subclass fills ``name`` and ``dim`` and writes one or more of the ``_embed_*`` primitives; the
batching, the order, the treatment of unreadable images and the checks are here, once.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isthmus.core.checks import in_range, one_of
from isthmus.encoders.batches import ahead, batched
from isthmus.errors import DtypeError, OptionError, ShapeError, ValuesError

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageLike = Image | str | os.PathLike[str]
    Sound = tuple[np.ndarray, int]

OnDone = Callable[[int], Any]
"""Called after each batch with the number of inputs done so far, unreadable ones included."""

OnUnreadable = Literal["raise", "skip"]


class Encoder(ABC):
    """A model that turns images and texts (and, for some, sounds) into rows of one shared space.

    ``name`` is what a user typed to get it, ``dim`` the length of a row. ``logit_scale`` is the
    factor (already exponentiated) and ``bias`` the offset that the model puts on a cosine before
    its loss; both are ``None`` where the model has none.
    """

    name: str
    dim: int
    logit_scale: float | None = None
    bias: float | None = None
    threads: int = 1
    """How many batches of images are under way at a time. Above 1 the model is called from several
    threads at once: only for one that allows it and keeps to one core itself."""
    workers: int = 1
    """How many images of a batch are opened and prepared at a time. Above 1
    :meth:`_prepare_image` is called from several threads at once."""

    def files(self) -> list[Path]:
        """The files of the model that lie here: of the file or the folder that its name names."""
        model = self.name.partition(":")[2]
        for named in (Path(n) for n in (model, model.rpartition("@")[2]) if n):
            if named.is_file():
                return [named]
            if named.is_dir():
                return sorted(p for p in named.rglob("*") if p.is_file())
        return []

    # -- what a subclass writes ------------------------------------------------------------------

    def _prepare_image(self, image: Image) -> Any:
        """One RGB image -> what :meth:`_embed_images` takes; called as each image is opened.

        The default hands the image on. An encoder that resizes here keeps a batch of large
        photographs from lying in memory at full size.
        """
        return image

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        """RGB images (as prepared) -> (b, dim) float32.

        Rows are raw, as the model gives them: normalised only if the library itself does so.
        """
        raise OptionError("no-such-side", f"the encoder '{self.name}' has no image side")

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        """Texts -> (b, dim) float32, raw like :meth:`_embed_images`."""
        raise OptionError("no-such-side", f"the encoder '{self.name}' has no text side")

    def _embed_audio(self, batch: list[Sound]) -> np.ndarray:
        """Sounds, each (samples (s,) float32, rate in Hz) -> (b, dim) float32."""
        raise OptionError("no-such-side", f"the encoder '{self.name}' has no audio side")

    # -- whole inputs at once --------------------------------------------------------------------

    def encode_images(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 64,
        on_unreadable: OnUnreadable = "raise",
        progress: OnDone | None = None,
    ) -> np.ndarray:
        """PIL images or paths -> (n, dim) float32, row i for input i.

        With ``on_unreadable="skip"`` an image that cannot be read leaves no row and one warning
        at the end names how many were left out; use :meth:`iter_image_batches` to learn which.
        Raises :class:`~isthmus.encoders.images.UnreadableImage` otherwise. Holds
        ``threads + 1`` batches of prepared images at a time, and the rows.
        """
        total = 0

        def count(done: int) -> None:
            nonlocal total
            total = done
            if progress is not None:
                progress(done)

        batches = self.iter_image_batches(
            images, batch_size=batch_size, on_unreadable=on_unreadable, progress=count
        )
        rows = self._stack(batches)
        if len(rows) < total:
            warnings.warn(
                f"{total - len(rows)} of {total} images could not be read and have no row",
                stacklevel=2,
            )
        return rows

    def encode_texts(
        self, texts: Iterable[str], *, batch_size: int = 64, progress: OnDone | None = None
    ) -> np.ndarray:
        """Texts -> (n, dim) float32, row i for text i. A bare string is refused, not split."""
        return self._stack(self.iter_text_batches(texts, batch_size=batch_size, progress=progress))

    def encode_audio(
        self, sounds: Iterable[Sound], *, batch_size: int = 16, progress: OnDone | None = None
    ) -> np.ndarray:
        """Sounds (samples, rate) -> (n, dim) float32, for the encoders that have an audio side."""
        return self._stack(
            self.iter_audio_batches(sounds, batch_size=batch_size, progress=progress)
        )

    # -- batch by batch --------------------------------------------------------------------------

    def iter_image_batches(
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 64,
        on_unreadable: OnUnreadable = "raise",
        progress: OnDone | None = None,
        on_skip: Callable[[int, Exception], Any] | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (b,) int64 into the input, rows (b, dim) float32), in input order.

        A batch is ``batch_size`` *inputs*: with ``on_unreadable="skip"`` it may hold fewer rows
        (even none), and ``on_skip(index, error)`` hears of each image left out. The next batch
        is opened in other threads (``workers``) while the model works: two prepared batches are
        held. With ``threads`` above 1 the model works in several threads too, on up to
        ``threads + 1`` batches; still one batch is opened at a time.
        """
        from isthmus.encoders.images import UnreadableImage
        from isthmus.encoders.opening import Opener

        one_of(on_unreadable, ("raise", "skip"), "on_unreadable", "unknown-option")
        _refuse_bare(images, "images")
        strict = on_unreadable == "raise"
        opened = Opener(self._prepare_image, self.workers, stop=strict)
        opening = Lock()  # one opens while the others compute, rather than all wait for each other

        def embed(prepared: list[Any]) -> np.ndarray | None:
            ready = [item for item in prepared if not isinstance(item, UnreadableImage)]
            given_up = strict and len(ready) < len(prepared)
            return self._embed_images(ready) if ready and not given_up else None

        def work(batch: list[ImageLike]) -> tuple[list[Any], np.ndarray | None]:
            with opening:
                prepared = opened(batch)
            return prepared, embed(prepared) if self.threads > 1 else None

        done = 0
        with opened, closing(ahead(work, batched(images, batch_size), self.threads)) as batches:
            for batch, (prepared, found) in batches:
                lost = {
                    i: e for i, e in enumerate(prepared, done) if isinstance(e, UnreadableImage)
                }
                for index, error in lost.items():
                    if strict:
                        raise error
                    if on_skip is not None:
                        on_skip(index, error)
                kept = [i for i in range(done, done + len(prepared)) if i not in lost]
                found = embed(prepared) if found is None else found
                rows = self._no_rows() if found is None else self._checked(found, kept)
                done += len(batch)
                if progress is not None:
                    progress(done)
                yield np.asarray(kept, dtype=np.int64), rows

    def iter_text_batches(
        self, texts: Iterable[str], *, batch_size: int = 64, progress: OnDone | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (b,) int64, rows (b, dim) float32), in input order."""
        _refuse_bare(texts, "texts")
        return self._batches(texts, _text, self._embed_texts, batch_size, progress)

    def iter_audio_batches(
        self, sounds: Iterable[Sound], *, batch_size: int = 16, progress: OnDone | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (b,) int64, rows (b, dim) float32), in input order."""
        return self._batches(sounds, _mono, self._embed_audio, batch_size, progress)

    def _batches(
        self,
        items: Iterable[Any],
        checked: Callable[[Any, int], Any],
        embed: Callable[[list[Any]], np.ndarray],
        batch_size: int,
        progress: OnDone | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        done = 0
        for batch in batched(items, batch_size):
            index = range(done, done + len(batch))
            ready = [checked(item, number) for item, number in zip(batch, index, strict=True)]
            rows = self._checked(embed(ready), index)
            done += len(batch)
            if progress is not None:
                progress(done)
            yield np.asarray(index, dtype=np.int64), rows

    # -- checks ----------------------------------------------------------------------------------

    def _no_rows(self) -> np.ndarray:
        return np.empty((0, self.dim), dtype=np.float32)

    def _stack(self, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        blocks = [rows for _, rows in batches]
        return np.concatenate(blocks) if blocks else self._no_rows()

    def _checked(self, rows: np.ndarray, index: Sequence[int]) -> np.ndarray:
        """Hold the model to its word: (b, dim), finite, float32."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        if rows.shape != (len(index), self.dim):
            raise ShapeError(
                "wrong-rows",
                f"the encoder '{self.name}' gave rows of shape {rows.shape} for {len(index)} "
                f"inputs, expected ({len(index)}, {self.dim})",
            )
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            first = index[int(np.argmin(finite))]
            raise ValuesError(
                "not-finite", f"the encoder '{self.name}' gave NaN or infinity for input {first}"
            )
        return rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, dim={self.dim})"


def _refuse_bare(items: object, kind: str) -> None:
    if isinstance(items, (str, bytes, os.PathLike)):
        raise OptionError(
            "not-a-list", f"{kind} must be a list or another iterable, got one {items!r}; wrap it"
        )


def _text(text: Any, index: int) -> str:
    if not isinstance(text, str):
        raise OptionError(
            "wrong-type", f"text {index} is of type {type(text).__name__}, expected str"
        )
    return text


def _mono(sound: Sound, index: int) -> Sound:
    samples, rate = sound
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise DtypeError(
            "not-floats", f"sound {index} holds {samples.dtype}, expected floats in [-1, 1]"
        )
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim != 1 or samples.size == 0:
        raise ShapeError(
            "wrong-axes",
            f"sound {index} has shape {samples.shape}, expected one channel of samples (s,)",
        )
    in_range(rate, f"sound {index}: sampling rate", "number-too-small", above=0, hint=" Hz")
    return samples, int(rate)
