"""Do thresholds keep their rate? Over seeds, for every kind and size: tables of docs/calibrate.md.

    python bench/thresholds.py [A.npy B.npy] [--seeds 20] [--rate 0.05]

Without files: made rows, drawn anew for each seed, whose short queries score higher with everything
than their long ones; each calibration is judged by ``decide`` on 1,000 new queries of a kind that
have no match, each on a random part of the candidates. With files: both directions of paired rows,
judged on the held-out half; the kinds are the halves nearer to and farther from the mean of the
candidates. "Within": seeds whose 95 % interval of both draws holds the stated rate; "Wilson":
the same for an interval of the held-out draw alone. "One for all" is ``decide`` without a kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus import calibrate
from isthmus.core.statistics import Share, wilson
from isthmus.deploy.thresholds.intervals import drawn_rate

DIM = 32


@dataclass(frozen=True)
class Run:
    """False matches among held-out searches of one seed."""

    rows: str
    kind: str
    size: int
    hits: int
    count: int
    fitted: int


def made(rng: np.random.Generator, count: int, kind: np.ndarray) -> np.ndarray:
    """Queries (n, d): short ones have three times the component that all candidates share."""
    rows = rng.normal(size=(count, DIM)) / np.sqrt(DIM)
    rows[:, 0] += np.where(kind == "short", 1.0, 0.3)
    return rows


def of_made_rows(seed: int, rate: float, pairs: int = 2000, fresh: int = 1000) -> Iterator[Run]:
    """Calibrated on pairs, judged on fresh queries of a kind without a match."""
    rng = np.random.default_rng([seed, 0])
    kinds = np.where(np.arange(pairs) % 4 == 0, "short", "long")
    queries = made(rng, pairs, kinds)
    candidates = queries + 0.7 * rng.normal(size=queries.shape) / np.sqrt(DIM)
    candidates[:, 0] += 0.5
    found = calibrate(queries, candidates, false_match_rate=rate, kinds=kinds, seed=seed)
    fitted = {part["kind"]: part["fit_queries"] for part in found.figures["kinds"]}
    fitted["one for all"] = found.figures["fit_queries"]
    for kind in ("short", "long"):
        unit = [
            r / np.linalg.norm(r, axis=1, keepdims=True)
            for r in (made(rng, fresh, np.full(fresh, kind)), candidates)
        ]
        scores = unit[0] @ unit[1].T
        own = np.take_along_axis(scores, rng.random(scores.shape).argsort(axis=1), axis=1)
        for size in (10, 100, pairs):
            for named in (kind, None):
                match = found.decide(own[:, :size], kind=named).match
                name = kind if named else f"{kind}, one for all"
                count = fitted[named or "one for all"]
                yield Run("made", name, size, int(match.sum()), fresh, count)


def of_files(files: list[str], seed: int, rate: float) -> Iterator[Run]:
    """Both directions, judged on the held-out half."""
    sides = [np.load(name, allow_pickle=False).astype(float) for name in files]
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in sides)
    for name, queries, candidates in (("A asks B", a, b), ("B asks A", b, a)):
        near = queries @ candidates.mean(axis=0)
        kinds = np.where(near > np.median(near), "near", "far")
        found = calibrate(queries, candidates, false_match_rate=rate, kinds=kinds, seed=seed)
        every = {"kind": "all", "fit_queries": found.figures["fit_queries"]}
        for part in (every | found.figures["search"], *found.figures["kinds"]):
            for line in part["by_candidates"]:
                if line["candidates"] in (10, 100, len(candidates)) and line["resolved"]:
                    held = line["held_out"]
                    hits = round(held["false_match_rate"] * held["searches"])
                    yield Run(
                        name,
                        part["kind"],
                        line["candidates"],
                        hits,
                        held["searches"],
                        part["fit_queries"],
                    )


def holds(share: Share, rate: float) -> bool:
    """Whether the rate lies in the interval."""
    return share.low <= rate <= share.high


def table(runs: list[Run], rate: float, seeds: int) -> Iterator[str]:
    """Markdown, a line for each kind and size."""
    yield (
        f"| rows | kind | candidates | mean rate (stated {rate:.1%}) | lowest to highest "
        f"| within, of {seeds} | Wilson |"
    )
    yield "|---|---|---|---|---|---|---|"
    for key in dict.fromkeys((r.rows, r.kind, r.size) for r in runs):
        group = [r for r in runs if (r.rows, r.kind, r.size) == key]
        rates = np.array([r.hits / r.count for r in group])
        both = sum(holds(drawn_rate(r.hits, r.count, r.fitted), rate) for r in group)
        one = sum(holds(wilson(r.hits, r.count), rate) for r in group)
        yield (
            f"| {key[0]} | {key[1]} | {key[2]} | {rates.mean():.2%} "
            f"| {rates.min():.1%} to {rates.max():.1%} | {both} | {one} |"
        )


def total(runs: list[Run], rate: float) -> str:
    """One sentence over all kinds that were named, and all sizes."""
    named = [run for run in runs if "one for all" not in run.kind]
    both = [holds(drawn_rate(r.hits, r.count, r.fitted), rate) for r in named]
    one = [holds(wilson(r.hits, r.count), rate) for r in named]
    return f"\nin all within {np.mean(both):.1%} of {len(named)} draws, Wilson {np.mean(one):.1%}"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="A.npy B.npy")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05)
    given = parser.parse_args()
    if len(given.files) not in (0, 2):
        parser.error("expected two files of paired rows, or none")
    runs: list[Run] = []
    for seed in range(given.seeds):
        if given.files:
            runs += of_files(given.files, seed, given.rate)
        else:
            runs += of_made_rows(seed, given.rate)
    print("\n".join([*table(runs, given.rate, given.seeds), total(runs, given.rate)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
