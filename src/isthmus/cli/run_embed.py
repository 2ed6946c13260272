"""The body of ``isthmus embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from isthmus.cli.words import console, print_json, progress_bar
from isthmus.encoders import load_encoder
from isthmus.encoders.embed import embed_to_file
from isthmus.encoders.inputs import open_source
from isthmus.errors import OptionError


def run(
    encoder: str,
    *,
    out: Path,
    images: str | None,
    texts: str | None,
    batch_size: int,
    workers: int | None,
    strict: bool,
    device: str,
    as_json: bool,
) -> None:
    """Embed one folder, list or file into one file of rows."""
    if (images is None) == (texts is None):
        raise OptionError("give either --images or --texts: one run makes the rows of one side")
    if batch_size < 1:
        raise OptionError(f"--batch-size {batch_size}: expected at least 1")
    if workers is not None and workers < 1:
        raise OptionError(f"--workers {workers}: expected at least 1")
    kind: Literal["images", "texts"] = "texts" if images is None else "images"
    inputs = texts if images is None else images
    assert inputs is not None
    count = open_source(inputs, kind).fingerprint()[0]
    model = load_encoder(encoder, device=device)
    if workers is not None:
        model.workers = workers
    with progress_bar() as say:
        result = embed_to_file(
            model,
            inputs,
            out,
            kind=kind,
            batch_size=batch_size,
            strict=strict,
            progress=lambda done: say(kind, done, count),
        )
    screen = console(as_json=as_json)
    screen.print(f"{result.rows} rows of {model.dim} dimensions from {encoder} -> {result.out}")
    if result.skipped:
        screen.print(
            f"{len(result.skipped)} could not be read and have no row; they are listed in "
            f"{result.out}.skipped.json. First: {result.skipped[0].reason}"
        )
    if as_json:
        print_json(
            {
                "out": str(result.out),
                "rows": result.rows,
                "dim": model.dim,
                "encoder": model.name,
                "ids": None if result.ids is None else str(result.ids),
                "skipped": [
                    {"index": s.index, "path": s.path, "reason": s.reason} for s in result.skipped
                ],
            }
        )
