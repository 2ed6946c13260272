"""Rows from a model: in memory, or to a file of rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import overload

import numpy as np

from isthmus.core.checks import at_least
from isthmus.core.progress import Progress, quiet
from isthmus.data.overwriting import refuse_overwriting
from isthmus.encoders import load_encoder
from isthmus.encoders.base import Encoder
from isthmus.encoders.inputs import Inputs, Kind, open_source
from isthmus.encoders.rows_file import Embedded, embed_to_file, lists_of
from isthmus.errors import FileError, OptionError


@overload
def embed(
    encoder: str | Encoder,
    *,
    images: Inputs | None = None,
    texts: Inputs | None = None,
    out: None = None,
    batch_size: int = 64,
    workers: int | None = None,
    strict: bool = False,
    device: str = "cpu",
    progress: Progress = quiet,
) -> np.ndarray: ...


@overload
def embed(
    encoder: str | Encoder,
    *,
    images: Inputs | None = None,
    texts: Inputs | None = None,
    out: str | os.PathLike[str],
    batch_size: int = 64,
    workers: int | None = None,
    strict: bool = False,
    device: str = "cpu",
    progress: Progress = quiet,
) -> Embedded: ...


def embed(
    encoder: str | Encoder,
    *,
    images: Inputs | None = None,
    texts: Inputs | None = None,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    strict: bool = False,
    device: str = "cpu",
    progress: Progress = quiet,
) -> np.ndarray | Embedded:
    """Rows of images or of texts, in order, from a model.

    Args:
        encoder: ``NAME[:MODEL]`` as in ``isthmus.encoders``, such as ``open_clip:ViT-B-32@openai``
            or ``emoji``, or an :class:`~isthmus.encoders.Encoder`.
        images: a folder (with the folders below it), a glob, a text file with one path a line,
            ``FILE.parquet:COLUMN`` of paths, or a list of paths or of PIL images.
        texts: a text file with one text a line, ``FILE.parquet:COLUMN``, or a list of texts.
        out: a ``.npy``, ``.safetensors`` or ``.parquet`` file. Row i's identity (an image's path,
            relative to its folder as listed; a text itself) is entry i of ``OUT.ids.json``, or the
            column ``id`` of a Parquet file. A run that was killed goes on when it is started again.
        batch_size: inputs encoded at once. workers: images opened at a time, set on the encoder;
            None: as it has it. device: ``cpu`` or ``cuda[:N]``, for an encoder given by name.
        strict: refuse an image that cannot be read. Otherwise it has no row: a warning counts
            such images, and ``OUT.skipped.json`` lists them as (index, path, reason).
        progress: called with (``images`` or ``texts``, done, all) after each batch.

    Returns:
        (n, dim) float32, raw as the model gives them; with ``out`` a record of the file.

    Raises:
        OptionError: not one of ``images`` and ``texts``; an unknown encoder; a number below 1.
        MissingExtra: the encoder's library is not installed.
        FileError: there is nothing to embed, or the work files are of another run.
        UnreadableImage: an unreadable image with ``strict``, or no readable image at all.

    Cost: two batches of memory with ``out``; the rows besides without.

    >>> embed("emoji", texts=["a red apple", "a green tree"]).shape
    (2, 128)
    """
    kind: Kind = "images" if texts is None else "texts"
    inputs = images if texts is None else texts
    if inputs is None or (images is not None and texts is not None):
        raise OptionError(
            "images-or-texts", "give either images or texts: one run makes the rows of one side"
        )
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None:
            at_least(number, 1, name)
    if out is not None:
        inside = {"images": images, "texts": texts, "encoder": encoder}
        refuse_overwriting({"out": out} | lists_of(Path(out)), inside)
    if out is None and not isinstance(inputs, (str, os.PathLike)):
        inputs = list(inputs)  # these may be images in memory
        label, count = "the given list", len(inputs)
    else:
        source = open_source(inputs, kind)
        label, count = source.label, source.fingerprint[0]
    if count == 0:
        raise FileError("no-inputs", f"{label} is empty; expected at least one of the {kind}")
    model = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, device=device)
    if workers is not None:
        model.workers = workers

    def say(done: int) -> None:
        progress(kind, done, count)

    if out is not None:
        return embed_to_file(model, source, out, batch_size=batch_size, strict=strict, on_done=say)
    given = inputs if isinstance(inputs, list) else source.inputs()
    if kind == "texts":
        return model.encode_texts(given, batch_size=batch_size, progress=say)
    return model.encode_images(
        given, batch_size=batch_size, on_unreadable="raise" if strict else "skip", progress=say
    )
