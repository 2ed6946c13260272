"""The body of ``isthmus apply``: read, map, write, block by block."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from isthmus.cli.words import console, print_json, progress_bar
from isthmus.closers.maps import Closer
from isthmus.data import RowWriter, atomic_path, open_rows
from isthmus.errors import OptionError, ShapeError

BLOCK = 16384


def run(
    closer: Path, rows: str, *, role: str, out: Path, bias_out: Path | None, as_json: bool
) -> None:
    """Apply one side of a closer to a file of any size."""
    if role not in ("query", "candidate"):
        raise OptionError(f"--role {role}: say query or candidate")
    fitted = Closer.load(closer)
    side = fitted.query if role == "query" else fitted.candidate
    source = open_rows(rows)
    if source.dim != side.dim:
        raise ShapeError(
            f"{rows} has {source.dim} dimensions, but {closer} was fitted for {side.dim}; use "
            "rows of the same model"
        )
    biased = role == "candidate" and fitted.bias is not None
    in_column = biased and out.suffix == ".parquet"
    if bias_out is not None and not biased:
        raise OptionError("--bias-out: this closer stores no number for these rows; leave it out")
    if bias_out is None and biased and not in_column:
        bias_out = out.with_name(f"{out.stem}.bias.npy")
    dtype = "float64" if source.dtype == "float64" else "float32"
    biases = []
    with ExitStack() as stack:
        say = stack.enter_context(progress_bar())
        writer = stack.enter_context(RowWriter(out, side.dim_out, dtype, source.rows))
        done = 0
        for block in source.blocks(BLOCK):
            bias = fitted.bias_of(block) if biased else None
            mapped = np.asarray(side(block))
            if in_column and bias is not None:
                writer.write(mapped, extra={"bias": bias})
            else:
                writer.write(mapped)
            if bias is not None:
                biases.append(bias)
            done += len(block)
            say(role, done, source.rows)
    if bias_out is not None:
        with atomic_path(bias_out) as beside, open(beside, "wb") as stream:
            np.save(stream, np.concatenate(biases), allow_pickle=False)
    result = {
        "closer": fitted.name,
        "role": role,
        "score": fitted.score,
        "rows": source.rows,
        "dim": side.dim_out,
        "out": str(out),
        "bias": str(bias_out) if bias_out is not None else f"{out}:bias" if in_column else None,
    }
    screen = console(as_json=as_json)
    screen.print(f"{source.rows} {role} rows through {fitted.name} -> {out}")
    if biased:
        screen.print(
            f"add the stored number of each candidate to its score: {result['bias']} "
            f"(searched by {fitted.score})"
        )
    if as_json:
        print_json(result)
