"""The commands and their options. Each body imports what it needs and hands over at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus._version import __version__

app = typer.Typer(
    name="isthmus",
    help="Measure, explain, close and stress-test the modality gap of embeddings.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

INPUT = "FILE, FILE:KEY (npz, safetensors), FILE:COLUMN (parquet), a folder or a glob of shards"
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Queries = Annotated[str, typer.Argument(metavar="QUERIES", help=f"{INPUT}.")]
Candidates = Annotated[str, typer.Argument(metavar="CANDIDATES", help="What is retrieved.")]
Labels = Annotated[
    str | None, typer.Option(help="Candidates are class texts; one integer per query.")
]
Relevance = Annotated[
    str | None, typer.Option(help="Two columns of integers: query row, candidate row.")
]
Score = Annotated[str, typer.Option(help="dot, cosine or euclidean: how you search today.")]
Convention = Annotated[str, typer.Option(help="What a level is: total, coordinate or spread.")]
FitShare = Annotated[
    float, typer.Option(help="Share of queries that closers are fitted on and not scored on.")
]
MostQueries = Annotated[int, typer.Option(help="Queries scored (a seeded sample).")]
MostCandidates = Annotated[
    int, typer.Option(help="Candidates searched (a seeded sample that keeps true ones).")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def _version(shown: bool) -> None:
    if shown:
        print(f"isthmus {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing happens before a command is named."""


@app.command()
def audit(
    a: Annotated[str, typer.Argument(metavar="A", help=f"First modality: {INPUT}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Second modality, likewise.")],
    names: Annotated[str, typer.Option(help="What the two are called.")] = "image,text",
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired",
            help="Row i of A belongs to row i of B. Left out: paired where lengths are equal.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="B holds class texts; this file has one integer per row of A."),
    ] = None,
    relevance: Annotated[
        str | None, typer.Option(help="Two columns of integers: row of A, row of B.")
    ] = None,
    score: Score = "cosine",
    levels: Annotated[
        str, typer.Option(help="Noise levels (variances), separated by commas.")
    ] = "0.005,0.022,0.04",
    convention: Convention = "total",
    trials: Annotated[
        int | None, typer.Option(help="Noise draws per level; default 60, fewer for large inputs.")
    ] = None,
    floor: Annotated[
        float, typer.Option(help="Least clean agreement of a recommended closer.")
    ] = 1.0,
    fit_share: FitShare = 0.0,
    max_queries: MostQueries = 2000,
    max_candidates: MostCandidates = 10_000,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for reports and closers.")] = Path(
        "isthmus-report"
    ),
    json: Json = False,
) -> None:
    """Measure the gap, stress the answers, recommend a closing.

    Writes report.json, report.html and the recommended closer of each direction.

    Example: isthmus audit images.npy captions.npy --names image,text --out report
    """
    from isthmus.cli.run_audit import run

    run(
        a,
        b,
        names=names,
        paired=paired,
        labels=labels,
        relevance=relevance,
        score=score,
        levels=levels,
        convention=convention,
        trials=trials,
        floor=floor,
        fit_share=fit_share,
        max_queries=max_queries,
        max_candidates=max_candidates,
        seed=seed,
        out=out,
        as_json=json,
    )


@app.command()
def close(
    queries: Queries,
    candidates: Candidates,
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
    normalise: Annotated[
        bool,
        typer.Option("--normalise/--raw", help="Rows are normalised first (cosine users: yes)."),
    ] = True,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A closer's own option, NAME=VALUE (rank=64, noise=rabitq); repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Fit one closer and verify it on the rows given.

    Example: isthmus close captions.npy images.npy --method center-queries --out closer.safetensors
    """
    from isthmus.cli.run_close import run

    run(
        queries,
        candidates,
        out=out,
        method=method,
        strength=strength,
        score=score,
        variance=variance,
        side=side,
        renormalise=renormalise,
        normalise=normalise,
        given=option or [],
        as_json=json,
    )


@app.command()
def stress(
    queries: Queries,
    candidates: Candidates,
    paired: Annotated[
        bool | None,
        typer.Option("--paired/--unpaired", help="Query i's right answer is candidate i."),
    ] = None,
    labels: Labels = None,
    relevance: Relevance = None,
    score: Score = "cosine",
    closers: Annotated[
        str, typer.Option(help="Closers beside plain search, separated by commas.")
    ] = "orthogonal-shift,biased-shift,center-queries,center-both,ridge-shift,mean-shift,centering",
    strengths: Annotated[
        str | None, typer.Option(help="Strengths, such as 0.5,1; default each closer's own.")
    ] = None,
    perturb: Annotated[
        str,
        typer.Option(
            help="gaussian, uniform, covariance, in-span, off-span, along-gap, truncation, "
            "dropped-dimensions, random-projection, or codecs: rabitq, sq8, sign, pq32x8 …"
        ),
    ] = "gaussian",
    levels: Annotated[str, typer.Option(help="Noise levels (variances).")] = "0.005,0.022,0.04",
    kept: Annotated[
        str, typer.Option(help="Dimensions that cuts keep, or shares below 1.")
    ] = "0.5,0.25",
    sides: Annotated[
        str, typer.Option(help="What is hit: candidates, queries, both, shared.")
    ] = "candidates",
    convention: Convention = "total",
    calibration: Annotated[
        str | None, typer.Option(help="Rows codecs are fitted on: own, other or union.")
    ] = None,
    rescored: Annotated[
        int, typer.Option(help="Codecs: so many of the best by code are ranked again in float.")
    ] = 0,
    trials: Annotated[int | None, typer.Option(help="Noise draws per level.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1 … of noise and splits.")] = 1,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also close along random, shuffled, flipped vectors …"),
    ] = False,
    fit_share: FitShare = 0.0,
    max_queries: MostQueries = 2000,
    max_candidates: MostCandidates = 10_000,
    out: Annotated[
        Path | None, typer.Option(help="The table, .parquet or .json; a killed run goes on.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="The table drawn: one offline page, .html.")
    ] = None,
    json: Json = False,
) -> None:
    """Will the answers change? Closers × perturbations × levels × seeds, as a table.

    Example: isthmus stress images.npy captions.npy --perturb gaussian,rabitq --out stress.parquet
    """
    from isthmus.cli.run_stress import run

    run(
        queries,
        candidates,
        paired=paired,
        labels=labels,
        relevance=relevance,
        score=score,
        closers=closers,
        strengths=strengths,
        perturb=perturb,
        levels=levels,
        kept=kept,
        sides=sides,
        convention=convention,
        calibration=calibration,
        rescored=rescored,
        trials=trials,
        seeds=seeds,
        controls=controls,
        fit_share=fit_share,
        max_queries=max_queries,
        max_candidates=max_candidates,
        out=out,
        page=page,
        as_json=json,
    )


@app.command()
def apply(
    closer: Annotated[Path, typer.Argument(metavar="CLOSER", help="A file of isthmus close.")],
    rows: Annotated[str, typer.Argument(metavar="ROWS", help=f"{INPUT}.")],
    role: Annotated[str, typer.Option(help="query or candidate.")],
    out: Annotated[Path, typer.Option(help="Closed rows: .npy, .safetensors or .parquet.")],
    bias_out: Annotated[
        Path | None,
        typer.Option(
            help="Candidates: file of the stored numbers (.npy). Parquet holds them as a column."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Apply a closer to rows of any size, streaming.

    Example: isthmus apply closer.safetensors images.npy --role candidate --out closed.npy
    """
    from isthmus.cli.run_apply import run

    run(closer, rows, role=role, out=out, bias_out=bias_out, as_json=json)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=f"Query rows: {INPUT}.")],
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="Their new version; row i is the same item.")
    ],
    candidates: Candidates,
    after_candidates: Annotated[
        str | None,
        typer.Option(help="The candidates' new version: old and new queries meet old and new."),
    ] = None,
    max_flips: Annotated[
        float, typer.Option(help="Limit of the share of changed answers; above it, exit code 3.")
    ] = 0.01,
    gate: Annotated[
        str,
        typer.Option(
            help="Which search the limit is for (queries' version first): new-old, old-new, "
            "new-new, or worst of those measured."
        ),
    ] = "worst",
    score: Score = "cosine",
    labels: Labels = None,
    relevance: Relevance = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Query i's right answer is candidate i.")
    ] = False,
    k: Annotated[int, typer.Option("--k", help="Depth of the overlap.")] = 10,
    max_queries: Annotated[int, typer.Option(help="Queries searched (a seeded sample).")] = 2000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Are two versions of the same vectors interchangeable? Exit code 3: too many answers flip.

    Example: isthmus compare images.npy images-int8.npy captions.npy --max-flips 0.01
    """
    from isthmus.cli.run_compare import run

    run(
        before,
        after,
        candidates,
        after_candidates=after_candidates,
        max_flips=max_flips,
        gate=gate,
        score=score,
        labels=labels,
        relevance=relevance,
        paired=paired,
        k=k,
        max_queries=max_queries,
        seed=seed,
        as_json=json,
    )


@app.command()
def calibrate(
    queries: Queries,
    candidates: Annotated[str, typer.Argument(metavar="CANDIDATES", help="What is searched.")],
    false_match_rate: Annotated[
        float, typer.Option(help="Share of non-matches that may pass for matches.")
    ] = 0.001,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired",
            help="Query i matches candidate i. Left out: where lengths are equal. --unpaired: "
            "nothing matches.",
        ),
    ] = None,
    labels: Labels = None,
    relevance: Relevance = None,
    score: Annotated[
        str | None, typer.Option(help="dot, cosine (default) or euclidean, or the closer's own.")
    ] = None,
    closer: Annotated[
        Path | None, typer.Option(help="A file of isthmus close, applied first.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name, kept in the file.")] = None,
    max_queries: MostQueries = 10_000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The calibration's file, .json.")] = None,
    json: Json = False,
) -> None:
    """What score means a match, at a stated false-match rate, judged on held-out queries.

    Example: isthmus calibrate images.npy captions.npy --false-match-rate 0.01 --out match.json
    """
    from isthmus.cli.run_calibrate import run

    run(
        queries,
        candidates,
        false_match_rate=false_match_rate,
        paired=paired,
        labels=labels,
        relevance=relevance,
        score=score,
        closer=closer,
        model=model,
        max_queries=max_queries,
        seed=seed,
        out=out,
        as_json=json,
    )


@app.command()
def export(
    closer: Annotated[
        Path, typer.Argument(metavar="CLOSER", help="A .safetensors or .json closer.")
    ],
    to: Annotated[str, typer.Option(help="closer, json, onnx, sentence-transformers or siglip.")],
    out: Annotated[Path, typer.Option(help="File, or folder of a model, to write.")],
    model: Annotated[
        str | None, typer.Option(help="What it goes behind: an ONNX file or a model's folder.")
    ] = None,
    role: Annotated[str | None, typer.Option(help="onnx: query or candidate.")] = None,
    output: Annotated[
        str | None, typer.Option(help="onnx: the output that holds rows, where there are several.")
    ] = None,
    query: Annotated[str, typer.Option(help="siglip: which side asks, image or text.")] = "image",
    store: Annotated[
        str | None,
        typer.Option(help="Stored number as coordinates: inner-product, cosine or euclidean."),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help=f"Candidates whose range --store fits: {INPUT}.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a closer as numbers, behind an ONNX graph, or into a model.

    Example: isthmus export closer.safetensors --to json --out closer.json
    """
    from isthmus.cli.run_export import run

    run(
        closer,
        to=to,
        out=out,
        model=model,
        role=role,
        output=output,
        query=query,
        store=store,
        candidates=candidates,
        as_json=json,
    )


@app.command()
def recommend(
    queries: Queries,
    candidates: Candidates,
    labels: Labels = None,
    relevance: Relevance = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired",
            help="Query i's right answer is candidate i. Left out: where lengths are equal.",
        ),
    ] = None,
    score: Score = "cosine",
    side: Annotated[
        str, typer.Option(help="What is disturbed: candidates, queries or both.")
    ] = "candidates",
    perturb: Annotated[
        str, typer.Option(help="gaussian, uniform …, or a codec: rabitq, sq8, sign, pq32x8 …")
    ] = "gaussian",
    level: Annotated[
        str | None, typer.Option(help="Variances of the noise, separated by commas.")
    ] = None,
    convention: Annotated[
        str | None, typer.Option(help="What a level is: total, coordinate or spread.")
    ] = None,
    floor: Annotated[
        float, typer.Option(help="Least share of today's answers that must stay, undisturbed.")
    ] = 1.0,
    beside: Annotated[
        int, typer.Option(help="Most floats that may be stored beside each vector.")
    ] = 1,
    closers: Annotated[
        str | None, typer.Option(help="Closers to consider, separated by commas; default all.")
    ] = None,
    share: Annotated[
        float, typer.Option(help="Share of the queries that settings are chosen on.")
    ] = 0.5,
    trials: Annotated[int | None, typer.Option(help="Noise draws; default by size.")] = None,
    max_queries: Annotated[int, typer.Option(help="Queries asked (a seeded sample).")] = 1000,
    max_candidates: MostCandidates = 4000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="File of the recommended closer, .safetensors.")
    ] = None,
    json: Json = False,
) -> None:
    """Which closer for this disturbance, or none, and why; chosen on one half, judged on another.

    Example: isthmus recommend images.npy captions.npy --perturb rabitq --out closer.safetensors
    """
    from isthmus.cli.run_recommend import run

    run(
        queries,
        candidates,
        labels=labels,
        relevance=relevance,
        paired=paired,
        score=score,
        side=side,
        perturb=perturb,
        level=level,
        convention=convention,
        floor=floor,
        beside=beside,
        closers=closers,
        share=share,
        trials=trials,
        max_queries=max_queries,
        max_candidates=max_candidates,
        seed=seed,
        out=out,
        as_json=json,
    )


@app.command()
def embed(
    encoder: Annotated[
        str,
        typer.Option(
            help="NAME[:MODEL]: emoji, open_clip, transformers, sentence_transformers, onnx."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Rows: .npy, .safetensors or .parquet.")],
    images: Annotated[
        str | None, typer.Option(help="Folder of pictures, or a file that lists them.")
    ] = None,
    texts: Annotated[
        str | None, typer.Option(help="One text per line, or FILE.parquet:COLUMN.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Inputs encoded at once.")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(help="Pictures opened at a time; else one a core, at most 8 (emoji: 1)."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable picture instead of listing it.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, …: what the library understands.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Rows from a real model, in order, resumable after a kill.

    Example: isthmus embed --encoder emoji --images pictures/ --out pictures.npy
    """
    from isthmus.cli.run_embed import run

    run(
        encoder,
        out=out,
        images=images,
        texts=texts,
        batch_size=batch_size,
        workers=workers,
        strict=strict,
        device=device,
        as_json=json,
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for reports, rows and closers.")] = Path(
        "isthmus-demo"
    ),
    encoder: Annotated[
        str,
        typer.Option(help="emoji (default model), emoji:contrastive, emoji:sigmoid, emoji:gap."),
    ] = "emoji",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """The whole story, offline, on the built-in emoji pictures, names and model.

    Example: isthmus demo --out isthmus-demo
    """
    from isthmus.cli.run_demo import run

    run(out=out, encoder=encoder, seed=seed, as_json=json)
