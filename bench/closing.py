"""The side findings of ``docs/closing.md``: ``python bench/closing.py A.npy B.npy`` prints JSON.

For both directions of two paired files: mean shift with either side moved; sign bits and uniform
quantisation of the candidates under plain dot search, query centring with a candidate bias, and
query centring with that number as one more coordinate. Codecs are fitted on a seeded half of the
candidates. Everything else on that page comes from ``isthmus audit``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.closers.closer import Closer
from isthmus.data.moments import Moments
from isthmus.perturb.codecs import SignBits, UniformQuantiser
from isthmus.search.scores import Ranking, top1

SEED = 0
BINS = (256, 64, 32)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows over their norms, float64."""
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def answers(queries: np.ndarray, candidates: np.ndarray, bias: Any = None) -> np.ndarray:
    """Top-1 by dot product and candidate bias."""
    return top1(Ranking.of(queries, candidates, "dot", bias))


def shifted(closer: Closer, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Answers after a closer, by its own score."""
    after = Ranking.of(closer.query(queries), closer.candidate(candidates), closer.score)
    return top1(after)


def direction(queries: np.ndarray, candidates: np.ndarray) -> dict[str, Any]:
    """All figures of one direction."""
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    clean = answers(queries, candidates)
    right = np.arange(len(queries))
    shifts = {}
    for side in ("query", "candidate"):
        got = shifted(fit("mean-shift", *moments, side=side), queries, candidates)
        shifts[side] = {
            "recall@1": float((got == right).mean()),
            "clean_agreement": float((got == clean).mean()),
        }
    mean = moments[0].mean
    centred, bias = queries - mean, candidates @ mean
    half = np.random.default_rng(SEED).permutation(len(candidates))[: len(candidates) // 2]
    low, high = candidates[half].min(), candidates[half].max()
    factor = float(np.ptp(bias) / (high - low))  # so that the coordinate fills the codec's range
    longer = np.column_stack([candidates, low + (bias - bias.min()) / factor])
    asked = np.column_stack([centred, np.full(len(queries), factor)])
    codecs: dict[str, Any] = {"sign-bits": SignBits.fit(candidates[half])}
    codecs |= {f"{b} bins": UniformQuantiser.fit(candidates[half], b) for b in BINS}
    kept = {}
    for name, codec in codecs.items():
        coded = codec.through(candidates)
        kept[name] = {
            "plain": float((answers(queries, coded) == clean).mean()),
            "candidate bias": float((answers(centred, coded, bias) == clean).mean()),
            "one more coordinate": float((answers(asked, codec.through(longer)) == clean).mean()),
        }
    signs = codecs["sign-bits"].through(candidates)
    return {
        "mean_shift": shifts,
        "kept": kept,
        "sign_error": {
            "spread_plain": across(queries @ (signs - candidates).T),
            "spread_centred": across(centred @ (signs - candidates).T),
            "slope_centred": slope(centred @ candidates.T, centred @ signs.T),
            "kept_code_rescaled": float((answers(1.5 * centred, signs, bias) == clean).mean()),
            "kept_without_number": float((answers(centred, signs) == clean).mean()),
        },
    }


def across(scores: np.ndarray) -> float:
    """Spread of scores (n, K) over the candidates, each query's mean taken off."""
    return float((scores - scores.mean(axis=1, keepdims=True)).std())


def slope(true: np.ndarray, coded: np.ndarray) -> float:
    """Least-squares slope of decoded on true scores within a query."""
    true = true - true.mean(axis=1, keepdims=True)
    return float((true * (coded - coded.mean(axis=1, keepdims=True))).sum() / (true**2).sum())


def main() -> int:
    """Print JSON; 2 where the files are not named."""
    if len(sys.argv) != 3:
        print("usage: python bench/closing.py A.npy B.npy", file=sys.stderr)
        return 2
    a, b = (unit(np.load(name, allow_pickle=False)) for name in sys.argv[1:])
    print(json.dumps({"a_to_b": direction(a, b), "b_to_a": direction(b, a)}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
