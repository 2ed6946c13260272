"""``isthmus recommend``: which closer for this perturbation, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, check_output
from isthmus.cli.output import console, print_json


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    labels: options.Labels = None,
    relevance: options.Relevance = None,
    paired: options.Paired = None,
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    score: options.Score = "cosine",
    targets: Annotated[
        str, about("What is perturbed: candidates, queries or both.", "--targets", "--side")
    ] = "candidates",
    perturb: options.Perturb = "gaussian",
    levels: Annotated[
        str | None, about("Variances of the noise, separated by commas.", "--levels", "--level")
    ] = None,
    convention: options.Convention = None,
    rescored: options.Rescored = 0,
    floor: options.Floor = 1.0,
    floats_per_candidate: Annotated[
        int,
        about(
            "Most floats that may be kept for each candidate besides its vector.",
            "--floats-per-candidate",
            "--beside",
        ),
    ] = 1,
    closers: Annotated[
        str | None, about("Closers to consider, separated by commas; default all.")
    ] = None,
    fit_share: Annotated[
        float, about("Share of the queries that settings are chosen on.", "--fit-share", "--share")
    ] = 0.5,
    trials: options.Trials = None,
    max_queries: options.MaxQueries = 1000,
    max_candidates: options.MaxCandidates = 4000,
    seed: options.Seed = 0,
    engine: options.Engine = None,
    out: Annotated[Path | None, about("File of the recommended closer, .safetensors.")] = None,
    json: options.Json = False,
) -> None:
    """Which closer for this perturbation, or none, and why.

    Settings are chosen on one part of the queries; figures are of the others. With --perturb store,
    CANDIDATES is the address of a store, and each closer is tried in a sample of it that has its
    index and codec and is removed again.

    Example: isthmus recommend images.npy captions.npy --perturb rabitq --out closer.safetensors
    """
    check_output(out, "a closer", ".safetensors")
    if perturb == "store":
        from isthmus.deploy.stores import recommend_in_store

        with options.asked(recommend_in_store, locals(), store=candidates) as given:
            of_store = recommend_in_store(**given)
        screen = console(as_json=json)
        for line in of_store.sentences():
            screen.print(line, soft_wrap=True)
        if out is not None and of_store.closer is not None:
            of_store.save(out)
            screen.print(f"wrote {out}", soft_wrap=True)
        elif out is not None:
            screen.print(f"{out} is not written: no closer helps", soft_wrap=True)
        if json:
            print_json(of_store.to_dict())
        return
    from isthmus.report.advice_table import print_advice

    with options.asked(im.recommend, locals()) as given:
        advice = im.recommend(**given)
    result = advice.to_dict() | {"file": None if out is None else str(out)}
    screen = console(as_json=json)
    if out is not None:
        advice.save(out)
    print_advice(result, screen)
    if out is not None:
        screen.print(f"wrote {out}", soft_wrap=True)
    if json:
        print_json(result)
