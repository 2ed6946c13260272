"""``isthmus close``: fit one closer and verify it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import options
from isthmus.cli.options import check_suffix
from isthmus.cli.output import console, print_json, progress_bar
from isthmus.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from isthmus.closers.verification import Verification

VERIFY_QUERIES = 2000
VERIFY_CANDIDATES = 20_000


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    out: Annotated[Path, typer.Option(help="The closer's file, .safetensors.")],
    method: Annotated[
        str, typer.Option(help="A closer's name: center-queries, ridge-shift … (docs/closing.md).")
    ] = "center-queries",
    strength: Annotated[float, typer.Option(help="0 changes nothing, 1 closes fully.")] = 1.0,
    score: Annotated[
        str | None, typer.Option(help="dot, cosine or euclidean; default the method's own.")
    ] = None,
    variance: Annotated[
        float | None,
        typer.Option(help="orthogonal-shift, span, subspace: share of variance that is the hull."),
    ] = None,
    side: Annotated[
        str | None, typer.Option(help="mean-, biased-shift: which rows move, query or candidate.")
    ] = None,
    renormalise: Annotated[
        bool | None,
        typer.Option(
            "--renormalise/--no-renormalise",
            help="mean-shift, centering: normalise moved rows; default: where rows were.",
        ),
    ] = None,
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised/--raw",
            "--normalise",
            help="Rows are normalised first (cosine users: yes).",
        ),
    ] = True,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A closer's own option, NAME=VALUE (rank=64, noise=rabitq); repeatable."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Fit one closer and verify it on the rows given.

    Example: isthmus close captions.npy images.npy --method center-queries --out closer.safetensors
    """
    import numpy as np

    from isthmus.closers import NEEDS, fit
    from isthmus.closers.verification import verify
    from isthmus.core.arrays import unit
    from isthmus.data import open_rows
    from isthmus.data.row_checks import check_same_space
    from isthmus.data.summary import summarise

    check_suffix(out, ".safetensors", "a closer")
    named: dict[str, Any] = {"variance": variance, "side": side, "renormalise": renormalise}
    own = {k: v for k, v in named.items() if v is not None} | own_options(option or [])
    q_source, c_source = open_rows(queries), open_rows(candidates)
    check_same_space("queries", q_source.dim, "candidates", c_source.dim)
    with progress_bar() as say:
        watch: dict[str, Any] = {"normalised": normalised, "on_partition": partial(say, "rows")}
        if NEEDS.get(method) == "pairs":
            both = summarise(q_source, c_source, **watch)
            assert both.pair is not None
            summaries = [("queries", both.stats_a), ("candidates", both.stats_b)]
            moments = [both.pair.a, both.pair.b]
            own["pairs"] = both.pair
        else:
            one, two = (summarise(source, **watch) for source in (q_source, c_source))
            summaries = [("queries", one.stats_a), ("candidates", two.stats_a)]
            moments = [one.a, two.a]
        for name, stats in summaries:
            assert stats is not None
            stats.refuse(name, cosine=normalised or score == "cosine")
        samples = _samples(q_source, c_source)
        if NEEDS.get(method) == "query_rows":
            rows = samples[0].astype(np.float64)
            own["query_rows"] = np.asarray(unit(rows)) if normalised else rows
        if method == "ridge-shift" and isinstance(own.get("noise"), str):
            own["noise"] = codec_noise(own["noise"], samples[1], normalised)
        closer = fit(method, *moments, score=score, strength=strength, normalised=normalised, **own)
        check = verify(closer, *samples)
    closer.save(out)
    result = {
        "closer": closer.name,
        "score": closer.score,
        "strength": closer.strength,
        "guarantee": closer.guarantee.to_dict(),
        "facts": dict(closer.facts),
        "verification": check.to_dict(),
        "file": str(out),
    }
    screen = console(as_json=json)
    for line in sentences(result, check):
        screen.print(line)
    if json:
        print_json(result)


def own_options(given: Sequence[str]) -> dict[str, Any]:
    """``["rank=64", "ridge=0.3"]`` -> {"rank": 64, "ridge": 0.3}; true and false are flags."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals and value):
            raise OptionError(
                "bad-option", f"--option {text}: expected NAME=VALUE, such as rank=64"
            )
        options[name] = _value(value)
    return options


def codec_noise(name: str, rows: np.ndarray, normalised: bool) -> float:
    """Error variance per dimension of a codec: fitted on half of the rows, measured on the rest.

    Rows lose their mean first, as candidates of ``ridge-shift`` do before they are coded.

    Raises:
        OptionError: no such codec.
    """
    import numpy as np

    from isthmus.core.arrays import unit
    from isthmus.perturb.codecs import held_out_error

    rows = rows.astype(np.float64)
    rows = np.asarray(unit(rows)) if normalised else rows
    rows = rows - rows.mean(axis=0)
    first, rest = np.array_split(np.random.default_rng(0).permutation(len(rows)), 2)
    return held_out_error(name, rows[np.sort(first)], rows[np.sort(rest)]).per_dimension


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _samples(q_source: Any, c_source: Any) -> tuple[np.ndarray, np.ndarray]:
    """All rows, or evenly spread ones: up to 2,000 queries and 20,000 candidates."""
    import numpy as np

    def take(source: Any, most: int) -> np.ndarray:
        if source.rows <= most:
            return source.read()
        return source.take(np.linspace(0, source.rows - 1, most).astype(np.int64))

    return take(q_source, VERIFY_QUERIES), take(c_source, VERIFY_CANDIDATES)


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
