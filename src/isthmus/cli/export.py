"""``isthmus export``: a closer's file in, another form of it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument, check_output
from isthmus.cli.output import show
from isthmus.errors import CorruptFile, OptionError


def command(
    closer: Annotated[Path, argument("CLOSER", "A .safetensors or .json closer.")],
    to: Annotated[str, about("closer, json, onnx, sentence-transformers or siglip.")],
    out: Annotated[Path, about("File, or folder of a model, to write.")],
    model: Annotated[
        str | None, about("What it goes behind: an ONNX file or a model's folder.")
    ] = None,
    role: Annotated[str | None, about("onnx: query or candidate.")] = None,
    output: Annotated[
        str | None, about("onnx: the output that holds rows, where there are several.")
    ] = None,
    query: Annotated[str, about("siglip: which side asks, image or text.")] = "image",
    store: Annotated[
        str | None, about("Candidate bias as a coordinate: inner-product, cosine or euclidean.")
    ] = None,
    candidates: Annotated[
        str | None, about(f"Candidates whose range --store fits: {INPUT}.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a closer as numbers, behind an ONNX graph, or into a model.

    Example: isthmus export closer.safetensors --to json --out closer.json
    """
    from isthmus.deploy.export import export_closer

    pool = _pool(closer)
    if pool is not None:
        if to not in ("closer", "json") or store is not None:
            raise OptionError(
                "form-of-a-pool-closer",
                "a closer of a mixed pool is exported as closer or json; how a store applies it is "
                "in docs/mixed.md",
            )
        check_output(out, f"the form {to}", ".json" if to == "json" else ".safetensors")
        pool.save(out)
        lines = [f"{pool.method} levelling of {' and '.join(pool.names)}", f"wrote {out}"]
        show(lines, pool.to_dict() | {"file": str(out)}, as_json=json)
        return
    with options.asked(export_closer, locals()) as given:
        made = export_closer(**given)
    lines = [f"{made.closer} as {to}, to be searched by {made.score}"]
    if made.more.get("changed") == []:
        lines.append("nothing had to change: this closer moves no row")
    if made.has_bias:
        lines.append("each candidate has a bias, to be added to its score")
    show([*lines, f"wrote {out}"], made.to_dict(), as_json=json)


def _pool(path: Path) -> im.PoolCloser | None:
    """The closer of a mixed pool that a file holds, if it holds one."""
    try:
        return im.PoolCloser.load(path)
    except CorruptFile:
        return None
