"""``isthmus apply``: rows through a closer, block by block."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument
from isthmus.cli.output import console, print_json
from isthmus.data.writer import WRITTEN

RANKED_BY = {
    "dot": "q·x + bias",
    "cosine": "q·x / (|q| |x|) + bias",
    "euclidean": "bias - |q - x|² / 2, highest first",
}
"""How a candidate bias enters each score; ½ because |q - x|² holds q·x twice."""


def command(
    closer: options.CloserFile,
    rows: Annotated[str, argument("ROWS", f"{INPUT}.")],
    role: Annotated[str, about("query or candidate.")],
    out: Annotated[Path, about(f"Closed rows: {WRITTEN}.")],
    bias_out: Annotated[
        Path | None,
        about("Candidates: file of the candidate bias (.npy). Tables hold it as a column."),
    ] = None,
    skip_invalid: Annotated[
        bool,
        about(
            "Leave out rows with NaN, infinity or nothing but zeros, and list them in "
            "OUT's STEM.skipped.txt. Otherwise they are refused.",
            "--skip-invalid",
        ),
    ] = False,
    engine: options.Engine = None,
    json: options.Json = False,
) -> None:
    """Apply a closer to rows of any size, streaming.

    Example: isthmus apply closer.safetensors images.npy --role candidate --out closed.npy
    """
    for path in (out, bias_out):
        options.check_output(path, "rows")
    with options.asked(im.closers.apply_to_file, locals()) as given:
        done = im.closers.apply_to_file(**given)
    screen = console(as_json=json)
    screen.print(f"{done.rows} {role} rows through {done.closer} -> {out}")
    if done.ids:
        screen.print(f"ids of the rows: {done.ids}")
    if done.skipped:
        screen.print(
            f"left out {len(done.skipped)} rows that cannot be mapped: {done.skipped_file} lists "
            "them; later rows moved up",
            style="yellow",
        )
    if done.bias is not None:
        screen.print(
            f"add the candidate bias to the score of each candidate: {done.bias}; "
            f"rank by {RANKED_BY[done.score]}"
        )
    if json:
        print_json(asdict(done))
