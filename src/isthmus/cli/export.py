"""``isthmus export``: a closer's file in, another form of it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument, check_output
from isthmus.cli.output import console, print_json
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
        screen = console(as_json=json)
        screen.print(f"{pool.method} levelling of {' and '.join(pool.names)}\nwrote {out}")
        if json:
            print_json(pool.to_dict() | {"file": str(out)})
        return
    with options.asked(export_closer, locals()) as given:
        made = export_closer(**given)
    screen = console(as_json=json)
    screen.print(f"{made.closer} as {to}, to be searched by {made.score}")
    if made.more.get("changed") == []:
        screen.print("nothing had to change: this closer moves no row")
    if made.has_bias:
        screen.print("each candidate has a bias, to be added to its score")
    screen.print(f"wrote {out}")
    if json:
        print_json(made.to_dict())


def _pool(path: Path) -> im.PoolCloser | None:
    """The closer of a mixed pool that a file holds, if it holds one."""
    try:
        return im.PoolCloser.load(path)
    except CorruptFile:
        return None
