"""``isthmus plan``: how few bytes a vector needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import isthmus as im
from isthmus.cli import options
from isthmus.cli.output import console, print_json, progress_bar
from isthmus.errors import OptionError

SUFFIXES = (".json", ".parquet")


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    target: Annotated[
        float, typer.Option(help="Share of answers to keep on queries not seen before.")
    ] = 0.95,
    measure: Annotated[
        str,
        typer.Option(help="agreement: the first answer is exact search's; recall: of its k best."),
    ] = "agreement",
    k: Annotated[int, typer.Option("--k", help="Answers that recall counts.")] = 10,
    score: options.Score = "cosine",
    codecs: Annotated[
        str | None, typer.Option(help="Codes to try, separated by commas: sign,rabitq4,pq32x8 …")
    ] = None,
    closers: Annotated[
        str | None, typer.Option(help="Closings to try, separated by commas.")
    ] = None,
    depths: Annotated[
        str | None, typer.Option(help="Rescoring depths to try, 0 for none: 0,10,50.")
    ] = None,
    max_queries: options.MaxQueries = 2000,
    max_candidates: options.MaxCandidates = 10_000,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="All that was tried: .json, or .parquet (the table).")
    ] = None,
    json: options.Json = False,
) -> None:
    """The smallest code and rescoring depth that keep a target share of the answers.

    Example: isthmus plan captions.npy images.npy --target 0.95
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise OptionError(
            "unknown-suffix", f"--out {out}: a plan is a .json or .parquet file; name it so"
        )
    tried = None
    if depths is not None:
        given = options.split_numbers(depths, "--depths", "whole numbers, such as 0,10", signed=True)
        tried = [int(d) if d == int(d) else -1 for d in given]
    with progress_bar() as say:
        found = im.plan(
            queries,
            candidates,
            target=target,
            measure=measure,
            k=k,
            score=score,
            codecs=None if codecs is None else options.split_words(codecs),
            closers=None if closers is None else options.split_words(closers),
            depths=tried,
            max_queries=max_queries,
            max_candidates=max_candidates,
            seed=seed,
            progress=say,
        )
    if out is not None:
        found.save(out)
    screen = console(as_json=json)
    for line in found.sentences():
        screen.print(line, markup=False, soft_wrap=False)
    for line in found.table():
        screen.print(line, markup=False, soft_wrap=True)
    if out is not None:
        screen.print(f"wrote {out}", markup=False)
    if json:
        files: dict[str, Any] = {"queries_file": queries, "candidates_file": candidates}
        print_json({**files, "out": None if out is None else str(out), **found.to_dict()})
