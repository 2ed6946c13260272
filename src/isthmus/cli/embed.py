"""``isthmus embed``: rows from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli import options
from isthmus.cli.output import console, print_json, progress_bar
from isthmus.errors import OptionError


def command(
    encoder: Annotated[
        str,
        typer.Option(
            help="NAME[:MODEL]: emoji, open_clip, transformers, sentence_transformers, onnx."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Rows: .npy, .safetensors or .parquet.")],
    images: Annotated[
        str | None, typer.Option(help="Folder of pictures, or a file that lists them.")
    ] = None,
    texts: Annotated[
        str | None, typer.Option(help="One text per line, or FILE.parquet:COLUMN.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Inputs encoded at once.")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(help="Pictures opened at a time; else one a core, at most 8 (emoji: 1)."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable picture instead of listing it.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, …: what the library understands.")
    ] = "cpu",
    json: options.Json = False,
) -> None:
    """Rows from a real model, in order, resumable after a kill.

    Example: isthmus embed --encoder emoji --images pictures/ --out pictures.npy
    """
    from isthmus.encoders import load_encoder
    from isthmus.encoders.embed import embed_to_file
    from isthmus.encoders.inputs import open_source

    if (images is None) == (texts is None):
        raise OptionError(
            "images-or-texts", "give either --images or --texts: one run makes the rows of one side"
        )
    if batch_size < 1:
        raise OptionError("bad-number", f"--batch-size {batch_size}: expected at least 1")
    if workers is not None and workers < 1:
        raise OptionError("bad-number", f"--workers {workers}: expected at least 1")
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
    screen = console(as_json=json)
    screen.print(f"{result.rows} rows of {model.dim} dimensions from {encoder} -> {result.out}")
    if result.skipped:
        screen.print(
            f"{len(result.skipped)} could not be read and have no row; they are listed in "
            f"{result.out}.skipped.json. First: {result.skipped[0].reason}"
        )
    if json:
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
