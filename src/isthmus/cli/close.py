"""``isthmus close``: fit one closer and verify it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, check_output
from isthmus.cli.output import console, print_json

if TYPE_CHECKING:
    from isthmus.closers.verification import Verification


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    out: Annotated[Path, about("The closer's file, .safetensors.")],
    method: Annotated[
        str, about("A closer's name: center-queries, ridge-shift … (docs/closing.md).")
    ] = "center-queries",
    strength: Annotated[
        float | None, about("0 changes nothing, 1 closes fully; default the method's own.")
    ] = None,
    score: Annotated[
        str | None, about("dot, cosine or euclidean; default the method's own.")
    ] = None,
    variance: Annotated[
        float | None, about("orthogonal-shift, span, subspace: share of variance that is the hull.")
    ] = None,
    side: Annotated[
        str | None, about("mean-, biased-shift: which rows move, query or candidate.")
    ] = None,
    renormalise: Annotated[
        bool | None,
        about(
            "mean-shift, centering: normalise moved rows; default: where rows were.",
            "--renormalise/--no-renormalise",
        ),
    ] = None,
    normalised: Annotated[
        bool,
        about(
            "Rows are normalised first (cosine users: yes).", "--normalised/--raw", "--normalise"
        ),
    ] = True,
    option: Annotated[
        list[str] | None,
        about("A closer's own option, NAME=VALUE (rank=64, noise=rabitq); repeatable."),
    ] = None,
    relevance: options.Relevance = None,
    labels: options.Labels = None,
    paired: options.Paired = None,
    engine: options.Engine = None,
    json: options.Json = False,
) -> None:
    """Fit one closer and verify it on the rows given.

    Example: isthmus close captions.npy images.npy --method center-queries --out closer.safetensors
    """
    from isthmus.report.table import PIPE_WIDTH, print_warnings

    check_output(out, "a closer", ".safetensors")
    named: dict[str, Any] = {"strength": strength, "variance": variance, "side": side}
    named["renormalise"] = renormalise
    own = {k: v for k, v in named.items() if v is not None} | im.closers.options_of(option or [])
    with options.asked(im.fit, locals(), **own) as given:
        closer = im.fit(**given)
    check = im.verify(closer, queries, candidates)
    closer.save(out)
    result = {**closer.to_dict(), "verification": check.to_dict(), "file": str(out)}
    screen = console(as_json=json)
    print_warnings([w.to_dict() for w in check.warnings], screen, PIPE_WIDTH)
    for line in sentences(result, check):
        screen.print(line)
    if json:
        print_json(result)


def sentences(result: dict[str, Any], check: Verification) -> list[str]:
    """What a person needs to hear of a fit."""
    guarantee = result["guarantee"]
    lines = [
        f"{result['closer']} at strength {result['strength']:g}, to be searched by "
        f"{result['score']}",
        f"guarantee: {guarantee['kind']} ({guarantee['condition']})",
        f"verified on {check.queries} queries and {check.candidates} candidates: clean agreement "
        f"{check.clean_agreement:.4f}, {check.changed} answers changed, {check.near_ties} near "
        f"ties; largest score move {check.violation:.2g}, median margin "
        f"{check.margin:.2g}",
    ]
    if "share" in result["facts"]:
        lines.append(f"closes {result['facts']['share']:.1%} of the squared gap")
    if check.holds is False:
        lines.append("WARNING: the guarantee does not hold on these rows; do not rely on it")
    return [*lines, f"wrote {result['file']}"]
