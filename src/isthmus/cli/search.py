"""``isthmus search``: the first candidates of each query, with ids and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, argument, check_output
from isthmus.cli.output import console, print_json
from isthmus.data.hit_files import HIT_FILES

SHOWN = 3
"""Queries, and candidates of each, that are printed."""


def command(
    queries: options.Queries,
    candidates: Annotated[str, argument("CANDIDATES", "Rows, or the address of a store.")],
    out: Annotated[
        Path | None, about("File of the lists: .parquet, .csv, .tsv, .jsonl, .npz, .trec or .json.")
    ] = None,
    k: Annotated[int, about("Candidates of each query.", "--k", "--top")] = 10,
    score: Annotated[
        str | None,
        about("dot, cosine or euclidean. Left out: the closer's, the store's own, or cosine."),
    ] = None,
    closer: Annotated[
        Path | None,
        about("Both sides go through this file of isthmus close; in a store, deployed."),
    ] = None,
    exact: Annotated[
        bool, about("Read a store's vectors and search them here, exactly.", "--exact")
    ] = False,
    column: Annotated[
        str | None, about("Of a deployed closer: the --column of isthmus deploy.")
    ] = None,
    query_side: Annotated[
        Path | None, about("Of a deployed closer: the --out of isthmus deploy.")
    ] = None,
    engine: options.Engine = None,
    json: options.Json = False,
) -> None:
    """The first candidates of each query: by exact search, or as a store finds them.

    Example: isthmus search captions.npy images.npy --k 100 --out hits.parquet
    """
    check_output(out, "lists of candidates", *HIT_FILES, ".json")
    with options.asked(im.retrieve, locals()) as given:
        hits = im.retrieve(**given)
    if out is not None:
        hits.save(out)
    screen = console(as_json=json)
    for line in hits.sentences():
        screen.print(line)
    for row in range(min(SHOWN, len(hits.candidates))):
        name = row if hits.query_ids is None else hits.query_ids[row]
        best = zip(hits.candidates[row, :SHOWN], hits.scores[row, :SHOWN], strict=True)
        screen.print(f"  {name}: " + ", ".join(f"{c} ({s:.4f})" for c, s in best), markup=False)
    if out is not None:
        screen.print(f"wrote {out}", soft_wrap=True)
    if json:
        print_json(hits.to_dict() | {"out": None if out is None else str(out)})
