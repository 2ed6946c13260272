"""``isthmus embed``: rows from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about
from isthmus.cli.output import show


def command(
    encoder: Annotated[
        str, about("NAME[:MODEL]: emoji, open_clip, transformers, sentence_transformers, onnx.")
    ],
    out: Annotated[Path, about("Rows: .npy, .safetensors or .parquet.")],
    images: Annotated[str | None, about("Folder of pictures, or a file that lists them.")] = None,
    texts: Annotated[str | None, about("One text per line, or FILE.parquet:COLUMN.")] = None,
    batch_size: options.BatchSize = 64,
    workers: Annotated[
        int | None, about("Pictures opened at a time; else one a core, at most 8 (emoji: 1).")
    ] = None,
    strict: Annotated[
        bool, about("Stop at an unreadable picture instead of listing it.", "--strict")
    ] = False,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Rows from a real model, in order, resumable after a kill.

    Example: isthmus embed --encoder emoji --images pictures/ --out pictures.npy
    """
    options.check_output(out, "rows")
    with options.asked(im.embed, locals()) as given:
        made = im.embed(**given)
    lines = [f"{made.count} rows of {made.dim} dimensions from {encoder} -> {made.out}"]
    if made.skipped:
        lines.append(
            f"{len(made.skipped)} could not be read and have no row; they are listed in "
            f"{made.out}.skipped.json. First: {made.skipped[0].reason}"
        )
    if made.changed:
        names, many = made.changed, len(made.changed) > 1
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(
            f"{len(names)} {'files were' if many else 'file was'} replaced while the run was not "
            f"done, and embedded again: {', '.join(names[:3])}{more}"
        )
    show(lines, made.to_dict(), as_json=json)
