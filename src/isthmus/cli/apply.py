"""``isthmus apply``: rows through a closer, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli import options
from isthmus.cli.options import INPUT
from isthmus.cli.output import console, print_json, progress_bar
from isthmus.errors import OptionError, ShapeError

BLOCK = 16384


def command(
    closer: options.CloserFile,
    rows: Annotated[str, typer.Argument(metavar="ROWS", help=f"{INPUT}.")],
    role: Annotated[str, typer.Option(help="query or candidate.")],
    out: Annotated[Path, typer.Option(help="Closed rows: .npy, .safetensors or .parquet.")],
    bias_out: Annotated[
        Path | None,
        typer.Option(
            help="Candidates: file of the candidate bias (.npy). Parquet holds it as a column."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Apply a closer to rows of any size, streaming.

    Example: isthmus apply closer.safetensors images.npy --role candidate --out closed.npy
    """
    from contextlib import ExitStack

    import numpy as np

    from isthmus.closers.maps import Closer
    from isthmus.data import RowWriter, atomic_path, open_rows

    if role not in ("query", "candidate"):
        raise OptionError("unknown-role", f"--role {role}: say query or candidate")
    fitted = Closer.load(closer)
    side = fitted.query if role == "query" else fitted.candidate
    source = open_rows(rows)
    if source.dim != side.dim:
        raise ShapeError(
            "wrong-dim",
            f"{rows} has {source.dim} dimensions, but {closer} was fitted for {side.dim}; use "
            "rows of the same model",
        )
    biased = role == "candidate" and fitted.bias_weights is not None
    in_column = biased and out.suffix == ".parquet"
    if bias_out is not None and not biased:
        raise OptionError(
            "no-bias", "--bias-out: this closer has no candidate bias for these rows; leave it out"
        )
    if bias_out is None and biased and not in_column:
        bias_out = out.with_name(f"{out.stem}.bias.npy")
    dtype = "float64" if source.dtype == "float64" else "float32"
    biases = []
    with ExitStack() as stack:
        say = stack.enter_context(progress_bar())
        writer = stack.enter_context(RowWriter(out, side.dim_out, dtype, source.rows))
        done = 0
        for block in source.blocks(BLOCK):
            bias = fitted.candidate_bias(block) if biased else None
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
        with atomic_path(bias_out) as temporary, open(temporary, "wb") as stream:
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
    screen = console(as_json=json)
    screen.print(f"{source.rows} {role} rows through {fitted.name} -> {out}")
    if biased:
        screen.print(
            f"add the candidate bias to the score of each candidate: {result['bias']} "
            f"(searched by {fitted.score})"
        )
    if json:
        print_json(result)
