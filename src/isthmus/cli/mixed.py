"""``isthmus mixed``: one pool of two modalities, and what levelling it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, argument
from isthmus.cli.output import console, print_json

ITEMS = "A name per row of the {} file: documents with one name are one item."
RELEVANT = "Two columns of integers: query row, row of the {} file."


def command(
    queries: Annotated[str, argument("[QUERIES]", "Left out: the form not stored asks.")],
    a: Annotated[str, argument("IMAGES", "Documents of one modality.")],
    b: Annotated[str | None, argument("TEXTS", "Of the other.")] = None,
    relevance_a: Annotated[str | None, about(RELEVANT.format("first"))] = None,
    relevance_b: Annotated[str | None, about(RELEVANT.format("second"))] = None,
    score: Annotated[str, about("cosine or dot: how you search today.")] = "cosine",
    names: Annotated[str, about("What the two modalities are called.")] = "image,text",
    k: Annotated[int, about("Depth of nDCG, recall and shares.")] = 10,
    share: Annotated[float, about("Of pairs that are stored as the first form.")] = 0.5,
    draws: Annotated[int, about("Mixtures of pairs that are averaged over.")] = 20,
    fit_share: Annotated[
        float, about("Share of queries that the strength is chosen on; not scored.")
    ] = 0.5,
    max_queries: options.MaxQueries = 2000,
    query_items: options.QueryItems = None,
    candidate_items_a: Annotated[str | None, about(ITEMS.format("first"))] = None,
    candidate_items_b: Annotated[str | None, about(ITEMS.format("second"))] = None,
    seed: options.Seed = 0,
    out: Annotated[Path | None, about("The chosen closer's file, .safetensors or .json.")] = None,
    json: options.Json = False,
) -> None:
    """Which modality outranks the other in one pool, and what levelling the pool gives.

    Row i of the files belongs together and one form of each document is stored, or --relevance-a
    and --relevance-b say which documents of each file are right.

    Example: isthmus mixed questions.npy images.npy texts.npy --out pool.safetensors
    """
    options.check_output(out, "a pool closer", ".safetensors", ".json")
    asked, first, second = (None, queries, a) if b is None else (queries, a, b)
    with options.asked(im.mixed, locals(), queries=asked, a=first, b=second) as given:
        found = im.mixed(**given)
    from isthmus.report.table import PIPE_WIDTH, plain_text, print_warnings

    screen = console(as_json=json)
    print_warnings([w.to_dict() for w in found.warnings], screen, PIPE_WIDTH)
    if found.broken:
        out = None  # a closer of broken rows is not written
    if out is not None:
        found.closer.save(out)
    for line in lines_of(found):
        screen.print(plain_text(line, width=PIPE_WIDTH))
    if out is not None:
        screen.print(
            f"wrote {out}: isthmus.PoolCloser.load reads it, isthmus export makes JSON of it"
        )
    elif found.helps:
        screen.print(
            "Next: --out pool.safetensors keeps it for isthmus.PoolCloser and isthmus export"
        )
    if json:
        files = {"queries_file": asked, "a_file": first, "b_file": second}
        print_json({**files, "out": None if out is None else str(out), **found.to_dict()})


def lines_of(found: im.Mixed) -> list[str]:
    """The sentences, and a line per closing, at most 80 columns wide."""
    first, *rest = found.sentences()
    a, b = (name[:10] for name in found.names)
    head = f"{'closing':<25}{f'nDCG@{found.k}':>8}  {'95 %':<12}{'recall':>7}{'R@1':>6}"
    lines = [first, *rest, "", f"{head}{f'kept {a[:6]}':>13}{b[:6]:>7}"]
    for line in found.table:
        if line["relevant"] == "all":
            low, high = line["ndcg_ci"]
            lines.append(
                f"{line['closing']:<25}{line['ndcg']:>8.3f}  {f'{low:.3f}-{high:.3f}':<12}"
                f"{line['recall']:>7.3f}{line['recall@1']:>6.3f}"
                f"{line['kept_a']:>13.1%}{line['kept_b']:>7.1%}"
            )
    about = "this pool's documents" if found.setting == "relevance" else "other pairs"
    return [
        *lines,
        "",
        f"{found.scored} queries scored, {found.chosen_on} others chosen on; "
        f"{found.documents[0]} {a} and {found.documents[1]} {b} documents, {found.draws} draws.",
        f"Means and covariances are those of {about}; no scored query is looked at.",
    ]
